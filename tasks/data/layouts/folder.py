"""A folder of class folders, optionally inside train, val and test."""

from __future__ import annotations

from pathlib import PurePosixPath

from tasks.data import storage
from tasks.data.layouts import group_of
from tasks.data.manifest import GIVEN, PARTS, Listing, Part, Row, video_id_of
from tasks.errors import UserError


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/<class>/<video>`, or `SOURCE/<part>/<class>/<video>` with the parts train, val (optional) and test.

    Every regular file in a class folder is a candidate, whatever its ending. Hidden files, files beside the class
    folders and folders inside them are ignored, and listed as such. The id of a video is its path below the source
    without the ending, so that equal names in two classes are two videos.

    Raises:
        UserError: the source does not exist, has no class folders or no videos, or mixes parts with classes.
    """
    source = storage.absolute(source)
    listing = Listing([])
    folders = _folders(source, "", listing)
    parts = [name for name in folders if name in PARTS]
    inside = {name: _folders(source, name, Listing([])) for name in parts}
    if "train" in parts and all(inside.values()):
        if len(parts) < len(folders):
            other = next(name for name in folders if name not in PARTS)
            raise UserError(f"{source} holds {other!r} beside {', '.join(parts)}: move it out, or into one of them")
        for part in PARTS:
            if part in parts:
                for name in _folders(source, part, listing):
                    _class(source, f"{part}/{name}", group, {GIVEN: part}, listing)
    else:
        for name in folders:
            _class(source, name, group, {}, listing)
    if not listing.rows:
        raise UserError(
            f"{source} holds no class folders with videos in them: it must look like {source}/<class>/<video>"
        )
    return listing


def _folders(source: str, below: str, listing: Listing) -> list[str]:
    folders = []
    for name, is_folder in storage.entries(storage.join(source, below)):
        if is_folder and not name.startswith("."):
            folders.append(name)
        else:
            listing.ignored.append(f"{below}/{name}".lstrip("/"))
    return folders


def _class(source: str, below: str, group: str | None, parts: dict[str, Part], listing: Listing) -> None:
    for name, is_folder in storage.entries(storage.join(source, below)):
        path = f"{below}/{name}"
        if is_folder or name.startswith("."):
            listing.ignored.append(path)
            continue
        row = Row(
            video_id=video_id_of(str(PurePosixPath(path).with_suffix(""))),
            uri=storage.join(source, path),
            label=PurePosixPath(below).name,
            group=group_of(path, group),
            parts=dict(parts),
        )
        listing.rows.append(row)
