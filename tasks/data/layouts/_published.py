"""Lists that datasets are published with: reading them, and comparing them with the videos on disk.

In all layouts a published part becomes this part of the split `given`: training is `train`. Validation, on which
results are reported where the test labels are withheld, is `test`, so that no checkpoint is chosen on what is reported.
A third part is `val` if its labels are published and its videos are there; without labels it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tasks.data import storage
from tasks.data.layouts import group_of
from tasks.data.manifest import GIVEN, Listing, Part, Row, video_id_of
from tasks.errors import UserError, first_ten


@dataclass
class Lists:
    """The content of a dataset's lists. Mistakes in them are collected, to be reported together."""

    classes: Collection[str] | None = None
    """Known classes; None if no list names them."""
    labels: dict[str, str] = field(default_factory=dict)
    """Video (its path below the folder of all videos) -> class."""
    parts: dict[str, dict[str, Part]] = field(default_factory=dict)
    """Video -> split -> part; empty if the video is in no split."""
    unlabelled: dict[str, set[str]] = field(default_factory=dict)
    """Name of a list -> videos in it without a label."""
    wrong: list[str] = field(default_factory=list)

    def add(self, place: str, video: str, label: str, part: Part | None, split: str = GIVEN) -> None:
        """Add a video as a list has it at a place; a part of None leaves it out of the split."""
        if self.classes is not None and label not in self.classes:
            self.wrong.append(f"{place} has the unknown class {label!r}")
        elif self.labels.setdefault(video, label) != label:
            self.wrong.append(f"{place} has {video} as {label!r}, earlier it is {self.labels[video]!r}")
        parts = self.parts.setdefault(video, {})
        if part and parts.setdefault(split, part) != part:
            self.wrong.append(f"{place} has {video} in {part}, earlier it is in {parts[split]}")

    def leave_out(self, path: str, video: str) -> None:
        """Note a video that a list names without a label, unless another list has given it one."""
        if video not in self.labels:
            self.unlabelled.setdefault(PurePosixPath(path).name, set()).add(video)

    def listing(
        self,
        source: str,
        below: str,
        files: tuple[set[str], list[str]],
        group: str | None,
        own_group: str | None = None,
    ) -> Listing:
        """Make the rows of all listed videos.

        Args:
            source: The dataset's folder.
            below: The folder below it that holds all videos, or empty.
            files: Paths of the videos below that folder, and of everything else there.
            group: The user's pattern, searched in a video's path below the source.
            own_group: The dataset's pattern, for when the user gives none.

        Raises:
            UserError: the lists hold mistakes, or videos are listed and missing, or there and not listed.
        """
        present, others = files
        listing = Listing([])
        labels = dict(self.labels)
        further = {video for video, parts in self.parts.items() if parts == {GIVEN: "val"}}
        if further and further.isdisjoint(present):
            listing.ignored.append(f"test part, of which no video is there: {len(further)}")
            labels = {video: label for video, label in labels.items() if video not in further}
        wrong = [*self.wrong]
        wrong += [f"{video} is listed but missing" for video in sorted(labels.keys() - present)]
        listed = set(self.parts).union(*self.unlabelled.values())
        wrong += [f"{video} is there but not listed" for video in sorted(present - listed)]
        refuse(storage.join(source, below), wrong)
        for name, videos in self.unlabelled.items():
            listing.ignored.append(f"{name}, videos without a label: {len(videos)}")
        listing.ignored += others
        for video, label in labels.items():
            path = f"{below}/{video}".lstrip("/")
            row = Row(
                video_id=video_id_of(str(PurePosixPath(video).with_suffix(""))),
                uri=storage.join(source, path),
                label=label,
                group=group_of(path, group or own_group),
                parts=self.parts[video],
            )
            listing.rows.append(row)
        return listing


def refuse(folder: str, wrong: list[str]) -> None:
    """Raise UserError with the first ten mistakes, if there are any."""
    if wrong:
        raise UserError(
            f"{folder} and its lists do not match: {first_ten(wrong)}; complete the videos, or correct the lists"
        )


def found(source: str, *names: str) -> list[str]:
    """Return the paths of those names below the source that exist."""
    return [path for path in (storage.join(source, name) for name in names) if storage.exists(path)]


def find(source: str, *names: str) -> str:
    """Return the path of the first of some names that exists below the source; UserError if none does."""
    for path in found(source, *names)[:1]:
        return path
    raise UserError(f"{source} holds no {' and no '.join(names)}: complete the dataset, or choose another layout")


def places_of(name: str, short: str) -> list[str]:
    """Return where a list of TwentyBN may be: in the source or below it, in newer packages under a short name."""
    return [name, f"labels/{name}", f"annotations/{name}", f"labels/{short}"]


def read_text(path: str) -> str:
    """Return the text of a list; UserError if there is none."""
    try:
        return storage.read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: complete the dataset, or choose another layout") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file ({error}): download it again") from error


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """Yield the non-empty lines of a list, each after its place: `trainlist01.txt line 3`."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            yield f"{PurePosixPath(path).name} line {number}", line.strip()


def read_json(path: str) -> Any:
    """Return the content of a JSON file; UserError if it is not one."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not a JSON file ({error}): download it again") from error


def read_entries(path: str, *keys: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield the values of some keys of each object in a JSON list, after its place: `train.json entry 3`.

    Raises:
        UserError: it is not a list of objects, or an object lacks a key.
    """
    content = read_json(path)
    for number, entry in enumerate(content if isinstance(content, list) else [content], 1):
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise UserError(f"{path} entry {number} has no {missing[0]!r}: download it again")
        yield f"{PurePosixPath(path).name} entry {number}", [entry[key] for key in keys]


def in_class_folders(folder: str, ending: str, leave: str) -> tuple[set[str], list[str]]:
    """Return the paths `<class>/<file>` of the files with an ending, and of everything else there.

    Args:
        folder: Folder of the class folders.
        ending: Ending of the videos, with its dot.
        leave: A folder among them that is not a class.
    """
    present, ignored = set(), []
    for name, is_folder in storage.entries(folder):
        if not is_folder or name.startswith("."):
            ignored.append(name)
        elif name != leave:
            files, other = in_folder(storage.join(folder, name), ending)
            present |= {f"{name}/{file}" for file in files}
            ignored += [f"{name}/{file}" for file in other]
    return present, ignored


def in_folder(folder: str, ending: str) -> tuple[set[str], list[str]]:
    """Return the names of the files with an ending (of the folders, if it is empty), and of everything else there."""
    present, ignored = set(), []
    for name, is_folder in storage.entries(folder):
        if is_folder == (not ending) and name.endswith(ending) and not name.startswith("."):
            present.add(name)
        else:
            ignored.append(name)
    return present, ignored
