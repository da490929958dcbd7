"""Lists that datasets are published with: reading them, and comparing them with the videos on disk.

In all layouts a published part becomes this part of the split `given`: training is `train`. Validation, on which
results are reported where the test labels are withheld, is `test`, so that no checkpoint is chosen on what is reported.
A third part is `val` if its labels are published and its videos are there; without labels it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tasks.data import storage
from tasks.data.endings import ending, is_named_video, stem
from tasks.data.layouts import group_of
from tasks.data.layouts._table import lines_of, place, read_text
from tasks.data.manifest import GIVEN, Listing, Part, Row, video_id_of
from tasks.errors import UserError, first_ten
from tasks.names import nfc

JSON_LIMIT = 1 << 27
"""Bytes of a JSON list, of which each may take some twenty in memory; the largest published one takes a quarter."""


@dataclass
class Lists:
    """The content of a dataset's lists. Mistakes in them are collected, to be reported together."""

    classes: Collection[str] | None = None
    """Known classes; None if no list names them."""
    labels: dict[str, str] = field(default_factory=dict)
    """Video (its path below the folder of all videos, as published) -> class."""
    parts: dict[str, dict[str, Part]] = field(default_factory=dict)
    """Video -> split -> part; empty if the video is in no split."""
    unlabelled: dict[str, set[str]] = field(default_factory=dict)
    """Name of a list -> videos in it without a label."""
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.classes = None if self.classes is None else {nfc(label) for label in self.classes}

    def add(self, place: str, video: str, label: str, part: Part | None, split: str = GIVEN) -> None:
        """Add a video as a list has it at a place; a part of None leaves it out of the split."""
        video, label = nfc(video), nfc(label)
        if self.classes is not None and label not in self.classes:
            self.wrong.append(f"{place} has the unknown class {label!r}")
        elif self.labels.setdefault(video, label) != label:
            self.wrong.append(f"{place} has {video} as {label!r}, earlier it is {self.labels[video]!r}")
        parts = self.parts.setdefault(video, {})
        if part and parts.setdefault(split, part) != part:
            self.wrong.append(f"{place} has {video} in {part}, earlier it is in {parts[split]}")

    def leave_out(self, path: str, video: str) -> None:
        """Note a video that a list names without a label, unless another list has given it one."""
        video = nfc(video)
        if video not in self.labels:
            self.unlabelled.setdefault(PurePosixPath(path).name, set()).add(video)

    def listing(
        self,
        source: str,
        below: str,
        files: tuple[dict[str, str], list[str]],
        group: str | None,
        own_group: str | None = None,
    ) -> Listing:
        """Make the rows of all listed videos.

        Args:
            source: The dataset's folder.
            below: The folder below it that holds all videos, or empty.
            files: Videos below that folder, as in `videos_in`, and paths of everything else there. A video may have
                another ending than the published one.
            group: The user's pattern, searched in a video's path below the source.
            own_group: The dataset's pattern, for when the user gives none.

        Raises:
            UserError: the lists hold mistakes, or videos are listed and missing, or there and not listed.
        """
        present, others = files
        listing = Listing([])
        labels = dict(self.labels)
        further = {video for video, parts in self.parts.items() if parts == {GIVEN: "val"}}
        if further and not any(_key(video) in present for video in further):
            listing.ignored.append(f"test part, of which no video is there: {len(further)}")
            labels = {video: label for video, label in labels.items() if video not in further}
        wrong = [*self.wrong]
        wrong += [f"{video} is listed but missing" for video in sorted(labels) if _key(video) not in present]
        listed = {_key(video) for video in set(self.parts).union(*self.unlabelled.values())}
        wrong += [f"{present[key]} is there but not listed" for key in sorted(present.keys() - listed)]
        refuse(storage.join(source, below), wrong)
        for name, videos in self.unlabelled.items():
            listing.ignored.append(f"{name}, videos without a label: {len(videos)}")
        listing.ignored += others
        for video, label in labels.items():
            path = f"{below}/{present[_key(video)]}".lstrip("/")
            row = Row(
                video_id=video_id_of(_key(video)),
                uri=storage.join(source, path),
                label=label,
                group=group_of(path, group or own_group),
                parts=self.parts[video],
            )
            listing.rows.append(row)
        return listing


def _key(path: str) -> str:
    """Return what names a video whatever its container: its path without the ending of a video."""
    return nfc(stem(path) if is_named_video(path) else path)


def videos_in(folder: str, names: Iterable[str], usual: str) -> tuple[dict[str, str], list[str]]:
    """Return the videos among the files of a folder, by their names without ending, and everything else.

    Args:
        folder: The folder's path, below which the names are returned; or empty.
        names: Names of its files.
        usual: Ending of which a file is taken where another has the same name otherwise.
    """
    present: dict[str, str] = {}
    others = []
    for name in sorted(names, key=lambda name: (ending(name) != usual, name)):
        path = f"{folder}/{name}".lstrip("/")
        if name.startswith(".") or not is_named_video(name) or _key(path) in present:
            others.append(path)
        else:
            present[_key(path)] = path
    return present, sorted(others)


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


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """Yield the non-empty lines of a list, each after its place: `trainlist01.txt line 3`."""
    for number, line in enumerate(lines_of(read_text(path, "a list")), 1):
        if line.strip():
            yield place(path, number), line.strip()


def read_json(path: str) -> Any:
    """Return the content of a JSON file; UserError if it is not one."""
    try:
        return json.loads(read_text(path, "a JSON file", JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a JSON file ({error}): download it again") from error


def read_names(path: str) -> list[str]:
    """Return the texts in a JSON list, or the keys of a JSON object; UserError if the file holds anything else."""
    content = read_json(path)
    if not isinstance(content, list | dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{path} is not a list of names: download it again")
    return list(content)


def read_entries(path: str, **kinds: type) -> Iterator[tuple[str, list[Any]]]:
    """Yield the values of some keys of each object in a JSON list, after its place: `train.json entry 3`.

    Args:
        path: The file.
        kinds: Key -> type of its values, str or int; a number is also read as text.

    Raises:
        UserError: it is not a list of objects, or an object lacks a key or has another type there.
    """
    content = read_json(path)
    for number, entry in enumerate(content if isinstance(content, list) else [content], 1):
        values = []
        for key, kind in kinds.items():
            value = entry.get(key) if isinstance(entry, dict) else None
            if not isinstance(value, kind | int) or isinstance(value, bool):
                raise UserError(f"{path} entry {number} has no {key!r}: download it again")
            values.append(kind(value))
        yield f"{PurePosixPath(path).name} entry {number}", values


def in_class_folders(folder: str, usual: str, leave: str) -> tuple[dict[str, str], list[str]]:
    """Return the videos `<class>/<file>` and everything else there, as `videos_in`.

    Args:
        folder: Folder of the class folders.
        usual: Usual ending of the videos.
        leave: A folder among them that is not a class.
    """
    present: dict[str, str] = {}
    ignored = []
    for name, is_folder in storage.entries(folder):
        if not is_folder or name.startswith("."):
            ignored.append(name)
        elif name != leave:
            files, other = in_folder(storage.join(folder, name), usual, name)
            present |= files
            ignored += other
    return present, ignored


def in_folder(folder: str, usual: str, below: str = "") -> tuple[dict[str, str], list[str]]:
    """Return the videos in a folder and everything else there, as `videos_in`, with paths below another folder."""
    found = storage.entries(folder)
    present, others = videos_in(below, [name for name, is_folder in found if not is_folder], usual)
    return present, sorted([*others, *(f"{below}/{name}".lstrip("/") for name, is_folder in found if is_folder)])


def frame_folders_in(folder: str) -> tuple[dict[str, str], list[str]]:
    """Return the visible folders in a folder, by their names, and everything else there."""
    present, others = {}, []
    for name, is_folder in storage.entries(folder):
        if is_folder and not name.startswith("."):
            present[nfc(name)] = name
        else:
            others.append(name)
    return present, others
