"""A CSV file that lists videos, with a header line; optionally with groups, time ranges and splits."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches

from tasks.data import storage
from tasks.data.layouts import group_of
from tasks.data.layouts._table import Table
from tasks.data.manifest import GIVEN, PARTS, Listing, Part, Row, video_id_of, video_ids_of
from tasks.errors import UserError, first_ten
from tasks.names import as_on_disk, nfc
from tasks.words import counted

_KNOWN = ("path", "label", "group", "start_s", "end_s", "video_id", "part")
_MEANT = {
    "path": ("file", "filename", "file_name", "filepath", "file_path", "video", "video_path", "uri", "url", "paths"),
    "label": ("class", "class_name", "classname", "category", "action", "target", "labels", "activity"),
}
"""What others call the columns that there must be."""
_TIMES = {
    "start_s": ("start", "start_time", "time_start", "start_sec", "start_seconds", "begin"),
    "end_s": ("end", "end_time", "time_end", "end_sec", "end_seconds", "stop"),
}
_NUMBER = re.compile(r"\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def read(source: str, group: str | None = None, *, group_column: str | None = None) -> Listing:
    """List the rows of a CSV file.

    Columns: `path` (absolute, an fsspec URL, or relative to the CSV file's folder; a file, or a folder of numbered
    images) and `label`; optional `group`, `start_s`, `end_s` (seconds), `video_id`, `part` (train, val or test, as
    the split `given`) or columns `split...` with parts as values, each a split of that name. Others are ignored, and
    named in the listing's notes. An empty cell has no value. The id of a video is its `video_id`, or its path as in
    `video_ids_of`, with `@<start>-<end>` in milliseconds for a range.

    Args:
        source: The file.
        group: The user's pattern, searched in a video's path below the file's folder.
        group_column: The column to take for `group`.

    Raises:
        UserError: there is no such file, columns are missing or misspelt, a row does not fit the header or has a wrong
            value (the message names its line), or videos do not exist.
    """
    source = storage.absolute(source)
    table = Table(source)
    table.require("path", "label", meant=_MEANT)
    used = {name: table.columns.index(name) for name in _KNOWN if name in table.columns}
    if group_column is not None:
        used["group"] = table.index(group_column)
    splits = {
        table.names[number]: number
        for number, name in enumerate(table.columns)
        if name.startswith("split") and number != used.get("group")
    }
    listing = Listing([], notes=_ignored(table, {*used.values(), *splits.values()}))
    folder = source.rpartition("/")[0]
    absent, paths = [], []
    listed: dict[str, dict[str, list[str]]] = {}
    shared: dict[tuple[tuple[str, Part], ...], dict[str, Part]] = {}  # among a million rows few differ
    for line, values in table.rows():
        cells = {name: values[number] for name, number in used.items()}
        try:
            row, path = _row(cells, {name: values[number] for name, number in splits.items()}, folder, group)
            row.uri = as_on_disk(row.uri, listed)
        except (ValueError, UserError) as error:
            raise UserError(f"{source} line {line}: {error}") from error
        row.parts = shared.setdefault(tuple(row.parts.items()), row.parts)
        listing.rows.append(row)
        paths.append(path)
        if storage.is_local(row.uri) and not os.path.exists(row.uri):
            absent.append(cells["path"])
    if absent:
        count = counted(len(absent), "video that does not exist", "videos that do not exist")
        raise UserError(f"{source} names {count}: {first_ten(absent)}")
    if not listing.rows:
        raise UserError(f"{source} has no rows")
    ids = video_ids_of(path for path, row in zip(paths, listing.rows, strict=True) if not row.video_id)
    for row, path in zip(listing.rows, paths, strict=True):
        row.video_id = row.video_id or ids[path] + _range(row.start_s, row.end_s)
    return listing


def _ignored(table: Table, used: set[int]) -> list[str]:
    """Return a note about the columns that are not used; UserError if one looks like a misspelt name."""
    others = [number for number, name in enumerate(table.columns) if name and number not in used]
    for name in (table.columns[number] for number in others):
        absent = [known for known in _KNOWN if known not in table.columns]
        meant = next((known for known in absent if name in _TIMES.get(known, ())), None)
        for known in [meant] if meant else get_close_matches(name, absent, n=1, cutoff=0.8):
            raise UserError(
                f"{table.path} has an unknown column {name!r}; did you mean {known!r}? rename it, to something else if "
                "it is to be ignored"
            )
    if not others:
        return []
    names = first_ten([repr(table.names[number]) for number in others])
    return [f"ignored columns of {table.path}: {names} (--group-column NAME takes one as the group)"]


def _row(cells: Mapping[str, str], splits: Mapping[str, str], folder: str, group: str | None) -> tuple[Row, str]:
    """Return a row, whose id is empty unless it is given, and the path of its video below the folder."""
    path, label = cells["path"], cells["label"]
    if not path or not label:
        raise ValueError("path and label must not be empty")
    start, end = _seconds(cells, "start_s"), _seconds(cells, "end_s")
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"end_s must be after start_s {start or 0.0:g}, not {end:g}")
    parts: dict[str, Part] = {}
    for column, value in [("part", cells.get("part", "")), *splits.items()]:
        match = next((part for part in PARTS if part == value), None)
        if value and match is None:
            raise ValueError(f"{column} must be train, val or test, not {value!r}")
        if match:
            parts[GIVEN if column == "part" else column] = match
    uri = storage.absolute(path if "://" in path or path.startswith("/") else storage.join(folder, path))
    below = uri.removeprefix(folder + "/").lstrip("/")
    row = Row(
        video_id=video_id_of(cells.get("video_id", "")),
        uri=uri,
        label=sys.intern(nfc(label)),
        group=group_of(below, group) if group else cells.get("group") or None,
        start_s=start,
        end_s=end,
        parts=parts,
    )
    return row, nfc(below)


def _seconds(cells: Mapping[str, str], column: str) -> float | None:
    value = cells.get(column, "")
    if not value:
        return None
    seconds = float(value) if _NUMBER.fullmatch(value) else -1.0
    if not 0 <= seconds < float("inf"):
        point = ", with a decimal point" if re.fullmatch(r"\d+,\d+", value) else ""
        raise ValueError(f"{column} must be a number of seconds{point}, not {value!r}")
    return seconds


def _range(start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return ""
    return f"@{round(1000 * (start or 0))}-" + ("" if end is None else f"{round(1000 * end)}")
