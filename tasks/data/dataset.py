"""A prepared dataset, read by index: any frame of any sample, from any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from os import PathLike, fspath

import pyarrow as pa
import pyarrow.compute as pc

from tasks.data import storage
from tasks.data.manifest import PARTS
from tasks.data.reader import Reader, Sample
from tasks.data.shard import plan
from tasks.data.tables import read_tables
from tasks.errors import UserError, did_you_mean, first_ten
from tasks.names import nfc


class Dataset(Reader):
    """The samples of a prepared dataset, divided by one of its splits or folds; made by `open_dataset`."""

    def __init__(self, uri: str, split: str | None, fold: str | None) -> None:
        super().__init__(uri)
        manifest, splits = read_tables(self.uri, self.description)
        self.splits: list[str] = sorted(set(splits["split"].to_pylist()))
        self.groups: list[str] = sorted({group for group in manifest["group"].to_pylist() if group is not None})
        split, fold = split and nfc(split), fold and nfc(fold)
        if fold is None:
            self.split = self._choose(split)
            chosen = splits.filter(pc.equal(splits["split"], self.split))
            part_of = dict(zip(chosen["video_id"].to_pylist(), chosen["part"].to_pylist(), strict=True))
        else:
            if split is not None:
                raise UserError(f"split ({split}) and fold ({fold}) exclude each other: give one of them")
            self.split = fold
            part_of = self._divide(manifest, fold)
        self._samples: dict[str, list[Sample]] = {part: [] for part in PARTS}
        for sample in self._read_index(manifest):
            if sample.video_id in part_of:
                self._samples[part_of[sample.video_id]].append(sample)

    @property
    def parts(self) -> dict[str, int]:
        """Number of readable videos in each part; a video in several pieces counts once."""
        return {part: len({sample.video_id for sample in samples}) for part, samples in self._samples.items()}

    def samples(self, part: str) -> list[Sample]:
        """Return the samples of `train`, `val` or `test` in the order in which they are stored."""
        return self._samples[part]

    def _choose(self, split: str | None) -> str:
        if split is None:
            return self.splits[0]
        if split not in self.splits:
            raise UserError(f"{self.uri} has no split {split!r}{did_you_mean(split, self.splits)}")
        return split

    def _divide(self, manifest: pa.Table, fold: str) -> dict[str, str]:
        """Test on one group, train on all others; nothing is left to validate on."""
        key, _, name = fold.partition("=")
        if key != "group" or not name:
            raise UserError(f"unknown fold {fold!r}: write group=NAME")
        if name not in self.groups:
            listed = f"its groups are: {first_ten(self.groups)}" if self.groups else "its videos have no groups"
            raise UserError(f"{self.uri} has no group {name!r}; {listed}")
        video_ids, groups = manifest["video_id"].to_pylist(), manifest["group"].to_pylist()
        return {v: "test" if group == name else "train" for v, group in zip(video_ids, groups, strict=True)}

    def _read_index(self, manifest: pa.Table) -> list[Sample]:
        columns = [manifest[name].to_pylist() for name in ("video_id", "label_id", "group")]
        facts = [(video_id, (label_id, group)) for video_id, label_id, group in zip(*columns, strict=True)]
        plans = plan(manifest, self.settings)
        with ThreadPoolExecutor(storage.READERS, thread_name_prefix="marey-sidecars") as pool:
            shards = list(pool.map(lambda one: self.index(one.index, dict(facts[row] for row in one.rows)), plans))
        missing = sum(samples is None for samples in shards)
        if missing:
            raise UserError(
                f"{self.uri} is not finished, {missing} of {len(plans)} shards are missing: run the same "
                "`marey prepare` again"
            )
        return [sample for samples in shards if samples for sample in samples]


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
