"""A prepared dataset, read by index: any frame of any sample, from any thread."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from os import PathLike, fspath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data import storage
from tasks.data.index import read_index
from tasks.data.manifest import PARTS, part_numbers
from tasks.data.reader import Reader
from tasks.data.samples import COLUMNS, Rows, Samples, Videos
from tasks.data.shard import deal
from tasks.data.tables import read_tables
from tasks.errors import UserError, did_you_mean, first_ten
from tasks.names import nfc

LOCAL_READERS = 2
"""Threads that read the sidecars of a local dataset: one waits for the disk while the other parses."""


class Dataset(Reader):
    """The samples of a prepared dataset, divided by one of its splits or folds; made by `open_dataset`."""

    def __init__(self, uri: str, split: str | None, fold: str | None) -> None:
        super().__init__(uri)
        manifest, splits = read_tables(self.uri, self.description, COLUMNS)
        self.splits: list[str] = sorted(splits["split"].unique().to_pylist())
        self._videos = Videos(manifest, self.classes)
        del manifest
        pa.default_memory_pool().release_unused()
        split, fold = split and nfc(split), fold and nfc(fold)
        if fold is None:
            self.split = self._choose(split)
            chosen = splits.filter(pc.equal(splits["split"], self.split))
            part_of = part_numbers(chosen, pa.chunked_array([self._videos.ids]))
            del chosen
        else:
            if split is not None:
                raise UserError(f"split ({split}) and fold ({fold}) exclude each other: give one of them")
            self.split = fold
            part_of = self._divide(fold)
        del splits
        pa.default_memory_pool().release_unused()  # before the samples take their place
        self._samples = self._read_index(part_of)

    @property
    def groups(self) -> list[str]:
        """All groups of its videos, sorted."""
        return sorted(self._videos.groups.dictionary.to_pylist())

    @property
    def parts(self) -> dict[str, int]:
        """Number of readable videos in each part; a video in several pieces counts once."""
        return {part: len(samples.first_pieces) for part, samples in self._samples.items()}

    def samples(self, part: str) -> Samples:
        """Return the samples of `train`, `val` or `test` in the order in which they are stored."""
        return self._samples[part]

    def _choose(self, split: str | None) -> str:
        if split is None:
            return self.splits[0]
        if split not in self.splits:
            raise UserError(f"{self.uri} has no split {split!r}{did_you_mean(split, self.splits)}")
        return split

    def _divide(self, fold: str) -> np.ndarray:
        """Test on one group, train on all others; nothing is left to validate on."""
        key, _, name = fold.partition("=")
        if key != "group" or not name:
            raise UserError(f"unknown fold {fold!r}: write group=NAME")
        groups = self._videos.groups
        number = groups.dictionary.index(name).as_py()
        if number < 0:
            listed = f"its groups are: {first_ten(self.groups)}" if self.groups else "its videos have no groups"
            raise UserError(f"{self.uri} has no group {name!r}; {listed}")
        left_out = np.asarray(groups.indices.fill_null(-1)) == number
        return np.where(left_out, PARTS.index("test"), PARTS.index("train"))

    def _read_index(self, part_of: np.ndarray) -> dict[str, Samples]:
        """Read the samples of all shards, and divide them by the part of their videos."""
        shards = deal(len(part_of), self.settings)
        rows = [Rows(int(count)) for count in np.bincount(part_of, minlength=len(PARTS) + 1)[:-1]]
        missing = 0
        threads = LOCAL_READERS if storage.is_local(self.uri) else storage.READERS
        with ThreadPoolExecutor(threads, thread_name_prefix="marey-sidecars") as pool:
            for found in pool.map(self._read_shard, range(len(shards)), shards):
                if found is None:
                    missing += 1
                else:
                    parts = part_of[found["video"]]
                    for number, own in enumerate(rows):
                        own.extend(found[parts == number])
        if missing:
            raise UserError(
                f"{self.uri} is not finished, {missing} of {len(shards)} shards are missing: run the same "
                "`marey prepare` again"
            )
        return {part: Samples(own.whole(), self._videos) for part, own in zip(PARTS, rows, strict=True)}

    def _read_shard(self, shard: int, videos: np.ndarray) -> np.ndarray | None:
        video_ids = self._videos.ids.take(pa.array(videos)).to_pylist()
        return read_index(self, shard, dict(zip(video_ids, videos.tolist(), strict=True)))


def open_dataset(uri: str | PathLike[str], split: str | None = None, fold: str | None = None) -> Dataset:
    """Open a prepared dataset at a path or URL.

    Args:
        uri: the folder that `marey prepare` made.
        split: one of the dataset's splits; None takes the first.
        fold: `group=NAME` instead of a split: test on that group, train on all others.

    Raises:
        UserError: there is no such dataset, split or group; the dataset has another format, is not finished, or is
            not as `marey prepare` wrote it: tables and sidecars are compared with their checksums.
    """
    return Dataset(fspath(uri), split, fold)


def open_once(uri: str | PathLike[str], split: str | None = None, fold: str | None = None) -> Dataset:
    """Return what this process opened last, where none of its local files has changed since; else `open_dataset`."""
    root = storage.absolute(fspath(uri))
    files = _files(root) if storage.is_local(root) else None
    return open_dataset(root, split, fold) if not files else _opened(root, split, fold, files)


@lru_cache(maxsize=1)
def _opened(root: str, split: str | None, fold: str | None, files: frozenset[tuple[str, int, int, int]]) -> Dataset:
    return open_dataset(root, split, fold)


def _files(root: str) -> frozenset[tuple[str, int, int, int]]:
    """Return name, inode, size and time of change of each file of a dataset; none where there is no dataset."""
    found = set()
    for folder in (root, storage.join(root, "shards")):
        if os.path.isdir(folder):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith((".json", ".parquet", ".tar")):
                        state = entry.stat()
                        found.add((entry.path, state.st_ino, state.st_size, state.st_mtime_ns))
    return frozenset(found)
