"""Lists that datasets are published with: reading them, and holding them against the videos on disk.

Which part of the split `given` a published part becomes, in all layouts: training is `train`. Validation, on which
everybody reports where the test labels are kept back, is `test`, so that no checkpoint is chosen on what is reported.
A further part, where its labels are published and its videos are there, is `val`; without labels it is left out.
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
    """What the lists of a dataset say. What is wrong in them is collected, to be told at once."""

    classes: Collection[str] | None = None
    """Known classes; None where no list names them."""
    labels: dict[str, str] = field(default_factory=dict)
    """Video (its path below the folder of all videos) -> class."""
    parts: dict[str, dict[str, Part]] = field(default_factory=dict)
    """Video -> split -> part; empty where no split has it."""
    unlabelled: dict[str, set[str]] = field(default_factory=dict)
    """List -> videos that it names without a label."""
    wrong: list[str] = field(default_factory=list)

    def add(self, place: str, video: str, label: str, part: Part | None, split: str = GIVEN) -> None:
        """Note what a list says at a place about a video; a part of None leaves it out of the split."""
        if self.classes is not None and label not in self.classes:
            self.wrong.append(f"{place} has the unknown class {label!r}")
        elif self.labels.setdefault(video, label) != label:
            self.wrong.append(f"{place} has {video} as {label!r}, which is {self.labels[video]!r} before")
        parts = self.parts.setdefault(video, {})
        if part and parts.setdefault(split, part) != part:
            self.wrong.append(f"{place} has {video} in {part}, which is in {parts[split]} before")

    def leave_out(self, path: str, video: str) -> None:
        """Note that a list names a video without a label, unless another list has given it one."""
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
            source: Of the dataset.
            below: Folder of all videos below it, or empty.
            files: Paths of the videos below that folder, and what else is there.
            group: The user's pattern, searched in a video's path below the source.
            own_group: The dataset's pattern, for where the user gives none.

        Raises:
            UserError: anything wrong in the lists, videos that are listed and not there, or there and not listed.
        """
        present, others = files
        listing = Listing([])
        labels = dict(self.labels)
        further = {video for video, parts in self.parts.items() if parts == {GIVEN: "val"}}
        if further and further.isdisjoint(present):
            listing.ignored.append(f"test part, of which no video is there: {len(further)}")
            labels = {video: label for video, label in labels.items() if video not in further}
        wrong = [*self.wrong]
        wrong += [f"{video} is listed and not there" for video in sorted(labels.keys() - present)]
        listed = set(self.parts).union(*self.unlabelled.values())
        wrong += [f"{video} is there and not listed" for video in sorted(present - listed)]
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
    """Raise UserError with the first ten things that are wrong, if any are."""
    if wrong:
        raise UserError(
            f"{folder} and its lists do not match: {first_ten(wrong)}; complete the videos, or correct the lists."
        )


def found(source: str, *names: str) -> list[str]:
    """Paths of those names below the source that exist."""
    return [path for path in (storage.join(source, name) for name in names) if storage.exists(path)]


def find(source: str, *names: str) -> str:
    """Path of the first of some names that exists below the source; UserError where none does."""
    for path in found(source, *names)[:1]:
        return path
    raise UserError(f"{source} holds no {' and no '.join(names)}; complete the dataset, or is another layout meant?")


def places_of(name: str, short: str) -> list[str]:
    """Where a list of TwentyBN lies: in the source, or below it, where its newer packages have it by a short name."""
    return [name, f"labels/{name}", f"annotations/{name}", f"labels/{short}"]


def read_text(path: str) -> str:
    """Text of a list; UserError where there is none."""
    try:
        return storage.read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; complete the dataset, or is another layout meant?") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text ({error}); download it again.") from error


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """Lines of a list, without empty ones, each after its place: `trainlist01.txt line 3`."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            yield f"{PurePosixPath(path).name} line {number}", line.strip()


def read_json(path: str) -> Any:
    """Content of a JSON file; UserError where it is none."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no JSON ({error}); download it again.") from error


def read_entries(path: str, *keys: str) -> Iterator[tuple[str, list[Any]]]:
    """Values of some keys of each object in a JSON list, after its place: `train.json entry 3`.

    Raises:
        UserError: it is no list of objects, or an object lacks a key.
    """
    content = read_json(path)
    for number, entry in enumerate(content if isinstance(content, list) else [content], 1):
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise UserError(f"{path} entry {number} has no {missing[0]!r}; download it again.")
        yield f"{PurePosixPath(path).name} entry {number}", [entry[key] for key in keys]


def in_class_folders(folder: str, ending: str, leave: str) -> tuple[set[str], list[str]]:
    """Paths `<class>/<file>` of the files with an ending, and of whatever else lies there.

    Args:
        folder: Holds the class folders.
        ending: Of the videos, with its dot.
        leave: A folder among them that is no class.
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
    """Names of the files with an ending (of the folders, where it is empty), and of whatever else lies there."""
    present, ignored = set(), []
    for name, is_folder in storage.entries(folder):
        if is_folder == (not ending) and name.endswith(ending) and not name.startswith("."):
            present.add(name)
        else:
            ignored.append(name)
    return present, ignored
