"""A folder of class folders, optionally inside train, val and test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

from tasks.data import storage
from tasks.data.endings import is_no_video, stem
from tasks.data.layouts import group_of
from tasks.data.manifest import GIVEN, PARTS, Listing, Part, Row, video_ids_of
from tasks.errors import UserError
from tasks.names import folded


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/<class>/<video>`, or `SOURCE/<part>/<class>/<video>` with any of the parts train, val and test.

    Every regular file in a class folder is a candidate, whatever its ending, but for one that is not a video
    (`tasks.data.endings`) and has the name of another file there: `1.json` or `1.en.srt` beside `1.mp4`. Those, hidden
    files, files beside the class folders and all files in folders inside them are ignored, and listed as such. The id
    of a video is its path below the source as in `video_ids_of`, so that equal names in two classes are two videos.

    Raises:
        UserError: the source does not exist, has no class folders or no videos, or mixes parts with classes.
    """
    source = storage.absolute(source)
    if storage.is_local(source) and os.path.isfile(source):
        raise UserError(f"{source} is a file, not a folder: a table of videos needs --layout csv")
    listing = Listing([])
    folders = _folders(source, "", listing)
    parts = [name for name in folders if name in PARTS]
    inside = {name: _folders(source, name, Listing([])) for name in parts}
    nested: list[str] = []
    if parts and all(inside.values()) and ("train" in parts or len(parts) == len(folders)):
        if len(parts) < len(folders):
            other = next(name for name in folders if name not in PARTS)
            raise UserError(f"{source} holds {other!r} beside {', '.join(parts)}: move it out, or into one of them")
        for part in PARTS:
            if part in parts:
                for name in _folders(source, part, listing):
                    nested += _class(source, f"{part}/{name}", group, {GIVEN: part}, listing)
    else:
        for name in folders:
            nested += _class(source, name, group, {}, listing)
    _mention(nested, source, listing)
    ids = video_ids_of(row.video_id for row in listing.rows)
    for row in listing.rows:
        row.video_id = ids[row.video_id]
    return listing


def _mention(nested: list[str], source: str, listing: Listing) -> None:
    """Note the files in folders inside class folders; UserError if there is nothing else."""
    deeper = f"folders inside the class folders hold {len(nested)} more files, such as {nested[0]}" if nested else ""
    if not listing.rows:
        raise UserError(
            f"{source} holds no class folders with videos in them: it must look like {source}/<class>/<video>"
            + (f"; {deeper}" if deeper else "")
        )
    if nested:
        listing.notes.append(
            f"{len(listing.rows)} videos lie in class folders; {deeper}, which are ignored: move them up, or list them "
            "in a CSV file (--layout csv)"
        )


def _folders(source: str, below: str, listing: Listing) -> list[str]:
    folders = []
    for name, is_folder in storage.entries(storage.join(source, below)):
        if is_folder and not name.startswith("."):
            folders.append(name)
        else:
            listing.ignored.append(f"{below}/{name}".lstrip("/"))
    return folders


def _class(source: str, below: str, group: str | None, parts: dict[str, Part], listing: Listing) -> list[str]:
    """Add the videos of a class folder, whose ids are their paths for now; return the files in folders inside it."""
    candidates, nested = [], []
    for name, is_folder in storage.entries(storage.join(source, below)):
        path = f"{below}/{name}"
        if name.startswith(".") or (is_folder and _is_link(storage.join(source, path))):
            listing.ignored.append(path)
        elif is_folder:
            nested += _files(source, path)
        else:
            candidates.append(name)
    beside = set(_beside_videos(storage.join(source, below), candidates))
    listing.ignored += [*nested, *(f"{below}/{name}" for name in candidates if name in beside)]
    for name in candidates:
        if name not in beside:
            path = f"{below}/{name}"
            row = Row(
                video_id=path,
                uri=storage.join(source, path),
                label=below.rpartition("/")[2],
                group=group_of(path, group),
                parts=dict(parts),
            )
            listing.rows.append(row)
    return nested


def _beside_videos(folder: str, names: list[str]) -> Iterator[str]:
    """Yield the names of files that are not videos and begin, up to a dot, as that of another file that may be one."""
    of_stem: dict[str, list[str]] = {}
    for name in names:
        of_stem.setdefault(folded(stem(name)), []).append(name)

    @cache
    def is_other(name: str) -> bool:
        return is_no_video(f"{folder}/{name}")

    for name in names:
        dots = [place for place, letter in enumerate(name) if letter == "." and place]
        alike = [found for dot in dots for found in of_stem.get(folded(name[:dot]), ()) if found != name]
        if alike and is_other(name) and not all(map(is_other, alike)):
            yield name


def _files(source: str, below: str) -> list[str]:
    """Return the visible files in a folder and in those inside it; links to folders are not followed."""
    found = []
    for name, is_folder in storage.entries(storage.join(source, below)):
        path = f"{below}/{name}"
        if not name.startswith("."):
            enter = is_folder and not _is_link(storage.join(source, path))
            found += _files(source, path) if enter else [path]
    return found


def _is_link(path: str) -> bool:
    return storage.is_local(path) and os.path.islink(path)
