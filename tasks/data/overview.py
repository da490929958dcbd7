"""What a prepared dataset holds, by its tables alone: no shard is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data import storage
from tasks.data.manifest import PARTS, part_numbers
from tasks.data.reader import Reader
from tasks.data.shard import tar_bytes
from tasks.data.tables import read_table, read_tables
from tasks.errors import UserError, did_you_mean
from tasks.names import nfc

NO_PART, FAILED = len(PARTS), len(PARTS) + 1
"""Columns of `Overview.counts` after train, val and test."""
_MANIFEST = ["video_id", "uri", "label_id", "group"]
_RECORDS = ["video_id", "status", "kind", "message", "frames", "flows", "shard", "width", "height", "fps"]


@dataclass(frozen=True)
class Overview:
    """The tables of a dataset as columns of n videos, sorted by video_id; a video's place is its row number."""

    videos: pa.Table
    """Manifest and records side by side."""
    split: str
    """The split that `part` refers to."""
    splits: dict[str, list[int]]
    """Split -> number of readable videos in train, val, test and no part."""
    part: np.ndarray
    """Part of each video, int [n]: an index of PARTS, or NO_PART."""
    num_classes: int
    bytes: int
    """Total size of the shards."""

    @cached_property
    def ok(self) -> np.ndarray:
        """Whether each video is readable, bool [n]."""
        return np.asarray(pc.equal(self.videos["status"], "ok"))

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of videos per class in train, val, test and no part, then of failed ones: int [classes, 5]."""
        counts = np.zeros((self.num_classes, FAILED + 1), np.int64)
        np.add.at(counts, (self.column("label_id"), np.where(self.ok, self.part, FAILED)), 1)
        return counts

    @cached_property
    def durations(self) -> np.ndarray:
        """Seconds of each readable video with a known frame rate, float [m]."""
        fps, frames = self.column("fps"), self.column("frames")
        known = self.ok & (fps > 0)
        return frames[known] / fps[known]

    def column(self, name: str) -> np.ndarray:
        """Return a column of numbers as an array [n]."""
        return np.asarray(self.videos[name].to_numpy())

    def failures(self) -> list[dict[str, Any]]:
        """Return the rows of all failed videos: the most frequent kind first, then by video_id."""
        failed = self.videos.filter(pa.array(~self.ok))
        rows: list[dict[str, Any]] = failed.select(["video_id", "uri", "label_id", "kind", "message"]).to_pylist()
        kinds = Counter(row["kind"] for row in rows)
        return sorted(rows, key=lambda row: (-kinds[row["kind"]], row["kind"]))

    def inside(self, shards: set[int]) -> dict[int, dict[str, int]]:
        """Return what `read_index` needs for each of these shards: the place of each of its videos."""
        inside: dict[int, dict[str, int]] = {shard: {} for shard in shards}
        found = np.isin(self.column("shard"), list(shards))
        ids = self.videos["video_id"].filter(pa.array(found)).to_pylist()
        places = np.flatnonzero(found)
        for shard, video_id, place in zip(self.column("shard")[places].tolist(), ids, places.tolist(), strict=True):
            inside[shard][video_id] = place
        return inside

    def spread(self, label_id: int, number: int) -> list[int]:
        """Return the places of up to `number` readable videos of a class, evenly spread over it, ascending."""
        low, high = np.searchsorted(self._of_class[1], [label_id, label_id + 1])
        places = self._of_class[0][low:high]
        return [int(places[i]) for i in evenly(len(places), number)]

    @cached_property
    def _of_class(self) -> tuple[np.ndarray, np.ndarray]:
        places = np.flatnonzero(self.ok)
        labels = self.column("label_id")[places]
        order = np.argsort(labels, kind="stable")
        return places[order], labels[order]


def evenly(total: int, number: int) -> list[int]:
    """Return up to `number` of 0 ... total - 1: the middles of that many equal intervals."""
    number = min(total, number)
    return [(2 * i + 1) * total // (2 * number) for i in range(number)]


def read_overview(reader: Reader, split: str | None = None) -> Overview:
    """Read the tables of a dataset.

    Args:
        reader: the opened dataset.
        split: the one whose parts are counted; None takes the first.

    Raises:
        UserError: the dataset is not finished, has no such split, or is not as `marey prepare` wrote it.
    """
    root = reader.uri
    unfinished = UserError(f"{root} is not finished: run the same `marey prepare` again")
    if not storage.exists(storage.join(root, "records.parquet")):
        raise unfinished
    manifest, table = read_tables(root, reader.description)
    records = read_table(root, "records", _RECORDS)
    if not manifest["video_id"].equals(records["video_id"]):  # both are sorted
        raise unfinished
    names = sorted(table["split"].unique().to_pylist())
    split = split and nfc(split)
    if split is not None and split not in names:
        raise UserError(f"{root} has no split {split!r}{did_you_mean(split, names)}")
    readable = np.asarray(pc.equal(records["status"], "ok"))
    parts = {name: part_numbers(table.filter(pc.equal(table["split"], name)), manifest["video_id"]) for name in names}
    return Overview(
        videos=pa.table({name: (manifest if name in _MANIFEST else records)[name] for name in [*_MANIFEST, *_RECORDS]}),
        split=split or names[0],
        splits={name: np.bincount(part[readable], minlength=FAILED).tolist() for name, part in parts.items()},
        part=parts[split or names[0]],
        num_classes=len(reader.classes),
        bytes=tar_bytes(root),
    )
