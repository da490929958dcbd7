"""A CSV file that lists videos, with a header line; optionally with groups, time ranges and splits."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import PurePosixPath

from tasks.data import storage
from tasks.data.layouts import group_of
from tasks.data.manifest import GIVEN, PARTS, Listing, Part, Row, video_id_of
from tasks.errors import UserError, did_you_mean, first_ten

_KNOWN = ("path", "label", "group", "start_s", "end_s", "video_id", "part")


def read(source: str, group: str | None = None) -> Listing:
    """List the rows of a CSV file.

    Columns: `path` (absolute, an fsspec URL, or relative to the CSV file's folder; a file, or a folder of numbered
    images) and `label`; optional `group`, `start_s`, `end_s` (seconds), `video_id`, `part` (train, val or test, as
    the split `given`) or columns `split...` with parts as values, each a split of that name. An empty cell has no
    value. The id of a video is its `video_id`, or its path without the ending, with `@<start>-<end>` in milliseconds
    for a range.

    Raises:
        UserError: there is no such file, columns are unknown or missing, a value is wrong (the message names its line),
            or videos do not exist.
    """
    source = storage.absolute(source)
    if not storage.exists(source):
        raise UserError(f"{source} does not exist")
    try:
        data = storage.read_bytes(source)
        data.decode("utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(f"{source} is not a CSV file ({error}): choose another layout") from error
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""))
    header = next(reader, [])
    columns = [name for name in header if name]
    splits = [name for name in columns if name.startswith("split")]
    for name in ("path", "label"):
        if name not in columns:
            raise UserError(f"{source} has no column {name!r}: its first line must name path and label")
    for name in columns:
        if name not in _KNOWN and name not in splits:
            raise UserError(f"{source} has an unknown column {name!r}{did_you_mean(name, _KNOWN)}")
    folder = source.rpartition("/")[0]
    listing, absent = Listing([]), []
    shared: dict[tuple[tuple[str, Part], ...], dict[str, Part]] = {}  # among a million rows few differ
    for values in reader:
        if not values:
            continue
        cells = dict.fromkeys(columns, "") | {k: v.strip() for k, v in zip(header, values, strict=False) if k}
        try:
            row = _row(cells, splits, folder, group)
        except ValueError as error:
            raise UserError(f"{source} line {reader.line_num}: {error}") from error
        row.parts = shared.setdefault(tuple(row.parts.items()), row.parts)
        listing.rows.append(row)
        if "://" not in row.uri and not os.path.exists(row.uri):
            absent.append(cells["path"])
    if absent:
        raise UserError(f"{source} names {len(absent)} videos that do not exist: {first_ten(absent)}")
    if not listing.rows:
        raise UserError(f"{source} has no rows")
    return listing


def _row(cells: dict[str, str], splits: list[str], folder: str, group: str | None) -> Row:
    path, label = cells["path"], cells["label"]
    if not path or not label:
        raise ValueError("path and label must not be empty")
    start, end = _seconds(cells, "start_s"), _seconds(cells, "end_s")
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"end_s must be after start_s {start or 0.0:g}, not {end:g}")
    parts: dict[str, Part] = {}
    for column in ["part", *splits]:
        value = cells.get(column, "")
        match = next((part for part in PARTS if part == value), None)
        if value and match is None:
            raise ValueError(f"{column} must be train, val or test, not {value!r}")
        if match:
            parts[GIVEN if column == "part" else column] = match
    uri = storage.absolute(path if "://" in path or path.startswith("/") else storage.join(folder, path))
    below = uri.removeprefix(folder + "/").lstrip("/")
    name = cells.get("video_id") or str(PurePosixPath(below).with_suffix("")) + _range(start, end)
    return Row(
        video_id=video_id_of(name),
        uri=uri,
        label=sys.intern(label),
        group=group_of(below, group) if group else cells.get("group") or None,
        start_s=start,
        end_s=end,
        parts=parts,
    )


def _seconds(cells: dict[str, str], column: str) -> float | None:
    value = cells.get(column, "")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{column} must be a number of seconds, not {value!r}")
    return seconds


def _range(start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return ""
    return f"@{round(1000 * (start or 0))}-" + ("" if end is None else f"{round(1000 * end)}")
