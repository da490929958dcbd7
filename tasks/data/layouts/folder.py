"""A folder of class folders, optionally inside train, val and test."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cache

from tasks.data import storage
from tasks.data.endings import are_frames, is_no_video, stem
from tasks.data.layouts import group_of
from tasks.data.manifest import GIVEN, PARTS, Listing, Part, Row, video_ids_of
from tasks.errors import UserError
from tasks.names import folded
from tasks.words import counted


@dataclass
class _Nested:
    """What is in folders inside class folders, by its paths below the source."""

    files: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    """Those that may be videos; a folder of frames is one."""
    twice: list[str] = field(default_factory=list)
    """Folders of frames that are read, beside a file of the same name."""

    def add(self, source: str, below: str) -> None:
        """Add the visible files in a folder and in those inside it; links to folders are not followed."""
        if _is_video(source, below):
            self.files.append(below)
            self.videos.append(below)
            return
        files, folders = _visible(source, below)
        paths = [f"{below}/{name}" for name in files]
        for name in folders:
            path = f"{below}/{name}"
            if _is_link(storage.join(source, path)):
                paths.append(path)
            else:
                self.add(source, path)
        self.files += paths
        self.videos += [path for path in paths if not is_no_video(storage.join(source, path))]


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/<class>/<video>`, or `SOURCE/<part>/<class>/<video>` with any of the parts train, val and test.

    Every regular file in a class folder is a candidate, whatever its ending, but for one that is not a video
    (`tasks.data.endings`) and has the name of another file there: `1.json` or `1.en.srt` beside `1.mp4`. A folder of
    numbered images (`are_frames`) is a video too. Those files, hidden ones, files beside the class folders and all that
    is in other folders inside them are ignored, and listed as such. The id of a video is its path below the source as
    in `video_ids_of`, so that equal names in two classes are two videos.

    Raises:
        UserError: the source does not exist, has no class folders or no videos, mixes parts with classes, or has parts
            without classes.
    """
    source = storage.absolute(source)
    if storage.is_local(source) and os.path.isfile(source):
        raise UserError(f"{source} is a file, not a folder: a table of videos needs --layout csv")
    listing, nested = Listing([]), _Nested()
    folders = _folders(source, "", listing)
    if parts := _parts(source, folders):
        for part in parts:
            for name in _folders(source, part, listing):
                _read_class(source, f"{part}/{name}", group, {GIVEN: part}, listing, nested)
    else:
        for name in folders:
            _read_class(source, name, group, {}, listing, nested)
    listing.ignored += nested.files
    _mention(nested, source, listing)
    ids = video_ids_of(row.video_id for row in listing.rows)
    for row in listing.rows:
        row.video_id = ids[row.video_id]
    return listing


def _parts(source: str, folders: list[str]) -> list[Part]:
    """Return the parts among the folders of a source; none where these are classes, which may be called like parts.

    Raises:
        UserError: there are classes beside the parts, or no classes in them.
    """
    parts = [part for part in PARTS if part in folders]
    others = [name for name in folders if name not in PARTS]
    inside = {part: _folders(source, part, Listing([])) for part in parts}
    if not all(inside.values()) or (others and "train" not in parts):
        return []
    for part in parts:
        if all(_is_video(source, f"{part}/{name}") for name in inside[part]):
            if others:
                return []
            raise UserError(
                f"the folders in {source}/{part} hold frames, and no label: put them into folders of their classes, "
                f"as in {source}/{part}/<class>/<video>"
            )
    if parts and others:
        raise UserError(f"{source} holds {others[0]!r} beside {', '.join(parts)}: move it out, or into one of them")
    return parts


def _mention(nested: _Nested, source: str, listing: Listing) -> None:
    """Note what is in folders inside class folders; UserError if there is nothing else."""
    deeper = ""
    if nested.files:
        what, names = ("more video", nested.videos) if nested.videos else ("more file", nested.files)
        deeper = f"folders inside the class folders hold {counted(len(names), what)}, such as {names[0]}"
    if not listing.rows:
        raise UserError(
            f"{source} holds no class folders with videos in them: it must look like {source}/<class>/<video>, where a "
            "video is a file, or a folder of frames such as 00001.jpg or img_00001.jpg" + (deeper and f"; {deeper}")
        )
    if deeper:
        listing.notes.append(
            f"{counted(len(listing.rows), 'video lies', 'videos lie')} in class folders; {deeper}, ignored: move what "
            "you need up, or list it in a CSV file (--layout csv)"
        )
    if nested.twice:
        count = counted(len(nested.twice), "folder of frames has", "folders of frames have")
        listing.notes.append(
            f"{count} the name of a file beside it, such as {nested.twice[0]}: if both are the same video, remove one, "
            "or it may be in train and test alike"
        )


def _folders(source: str, below: str, listing: Listing) -> list[str]:
    folders = []
    for name, is_folder in storage.entries(storage.join(source, below)):
        if is_folder and not name.startswith("."):
            folders.append(name)
        else:
            listing.ignored.append(f"{below}/{name}".lstrip("/"))
    return folders


def _read_class(
    source: str, below: str, group: str | None, parts: dict[str, Part], listing: Listing, nested: _Nested
) -> None:
    """Add the videos of a class folder, whose ids are their paths for now, and what is in other folders inside it."""
    files, folders = _visible(source, below, listing.ignored)
    stems = {folded(stem(name)) for name in files}
    frames = {name for name in folders if _is_video(source, f"{below}/{name}", stems)}
    for name in folders:
        if name in frames:
            continue
        if _is_link(storage.join(source, below, name)):
            listing.ignored.append(f"{below}/{name}")
        else:
            nested.add(source, f"{below}/{name}")
    beside = set(_beside_videos(storage.join(source, below), files, frames))
    listing.ignored += [f"{below}/{name}" for name in files if name in beside]
    files = [name for name in files if name not in beside]
    of_files = {folded(stem(name)) for name in files}
    nested.twice += [f"{below}/{name}" for name in sorted(frames) if folded(stem(name)) in of_files]
    videos = [f"{below}/{name}" for name in [*files, *frames]]
    for path in sorted(videos):
        row = Row(
            video_id=path,
            uri=storage.join(source, path),
            label=below.rpartition("/")[2],
            group=group_of(path, group),
            parts=dict(parts),
        )
        listing.rows.append(row)


def _beside_videos(folder: str, names: list[str], frames: set[str]) -> Iterator[str]:
    """Yield the names of files that are not videos and begin, up to a dot, as another file that may be one, or frames.

    Args:
        folder: A class folder.
        names: All visible files there.
        frames: The folders there that are videos.
    """
    of_stem: dict[str, list[str]] = {}
    for name in [*names, *frames]:
        of_stem.setdefault(folded(stem(name)), []).append(name)

    @cache
    def is_other(name: str) -> bool:
        return name not in frames and is_no_video(f"{folder}/{name}")

    for name in names:
        dots = [place for place, letter in enumerate(name) if letter == "." and place]
        alike = [found for dot in dots for found in of_stem.get(folded(name[:dot]), ()) if found != name]
        if alike and is_other(name) and not all(map(is_other, alike)):
            yield name


def _is_video(source: str, below: str, stems: Container[str] = ()) -> bool:
    """Return whether a folder holds the frames of one video, and not a picture for each of the files of these stems."""
    files, _ = _visible(source, below)
    if not are_frames([storage.join(source, below, name) for name in files]):
        return False
    return not all(folded(stem(name)) in stems for name in files)


def _visible(source: str, below: str, hidden: list[str] | None = None) -> tuple[list[str], list[str]]:
    """Return the names of the files and of the folders in a folder; hidden ones are added to a list of paths."""
    files: list[str] = []
    folders: list[str] = []
    for name, is_folder in storage.entries(storage.join(source, below)):
        if not name.startswith("."):
            (folders if is_folder else files).append(name)
        elif hidden is not None:
            hidden.append(f"{below}/{name}")
    return files, folders


def _is_link(path: str) -> bool:
    return storage.is_local(path) and os.path.islink(path)
