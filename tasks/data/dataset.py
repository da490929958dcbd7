"""A prepared dataset, read by index: any frame of any sample, from any thread."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data import storage
from tasks.data.errors import first_ten, unknown
from tasks.data.manifest import PARTS
from tasks.data.sample import FLOW, RGB, ArrowFile, read_rgb, sample_key
from tasks.data.shard import read_sidecar, tar_path
from tasks.data.tables import read_description, read_settings, read_table
from tasks.errors import UserError

_READERS = 16
"""Sidecars read at once; on an object store each costs a round trip."""
_OPEN_SHARDS = 64
"""Shards mapped at once, each a file descriptor; an epoch's order stays within a window of far fewer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A video, or one of the consecutive parts of a long one."""

    video_id: str
    part_index: int
    """Counted from 0."""
    label_id: int
    label: str
    frames: int
    flows: int
    """Pairs of frames with flow: frames - 1, or frames where another part follows; 0 without flow."""
    shard: int
    group: str | None
    height: int
    width: int
    rgb_range: tuple[int, int]
    """Where its frames start and end in the shard, in bytes."""
    flow_range: tuple[int, int] | None


class Dataset:
    """Samples of one division of a prepared dataset; `open_dataset` makes it."""

    def __init__(self, uri: str, split: str | None, fold: str | None) -> None:
        self.uri = storage.absolute(uri)
        description = read_description(self.uri)
        self.classes: list[str] = description["classes"]
        self.digest: str = description["digest"]
        self.settings = read_settings(description)
        manifest, splits = read_table(self.uri, "manifest"), read_table(self.uri, "splits")
        self.splits: list[str] = sorted(set(splits["split"].to_pylist()))
        self.groups: list[str] = sorted({group for group in manifest["group"].to_pylist() if group is not None})
        if fold is None:
            self.split = self._choose(split)
            chosen = splits.filter(pc.equal(splits["split"], self.split))
            part_of = dict(zip(chosen["video_id"].to_pylist(), chosen["part"].to_pylist(), strict=True))
        else:
            if split is not None:
                raise UserError(f"A dataset is divided by a split ({split}) or by a fold ({fold}): give one of them.")
            self.split = fold
            part_of = self._divide(manifest, fold)
        self._samples: dict[str, list[Sample]] = {part: [] for part in PARTS}
        for sample in self._read_index(manifest, description["shards"]):
            if sample.video_id in part_of:
                self._samples[part_of[sample.video_id]].append(sample)
        self._shard = lru_cache(_OPEN_SHARDS)(self._open_shard)

    @property
    def parts(self) -> dict[str, int]:
        """Videos of each part that can be read; one of several samples counts once."""
        return {part: len({sample.video_id for sample in samples}) for part, samples in self._samples.items()}

    def samples(self, part: str) -> list[Sample]:
        """Return the samples of `train`, `val` or `test` as they are stored: by shard and place in it."""
        return self._samples[part]

    def rgb(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return frames, uint8 [n, H, W, 3], in the order asked for; each is decoded once."""

        def decode(data: bytes | memoryview, wanted: Sequence[int]) -> np.ndarray:
            return read_rgb(data, wanted, self.settings.rgb, height=sample.height, width=sample.width)

        return self._read(sample, sample.rgb_range, indices, decode)

    def flow(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return quantised flow, uint8 [n, 2, H, W], x before y; UserError where the dataset has none."""
        if sample.flow_range is None:
            raise self.no_flow()
        return self._read(sample, sample.flow_range, indices, lambda data, wanted: ArrowFile(data).flow(wanted))

    def no_flow(self) -> UserError:
        """Return the error of asking a dataset for flow that was prepared without."""
        return UserError(
            f"{self.uri} was prepared without optical flow: prepare the videos again to another folder with "
            "flow=tvl1, or use stream rgb."
        )

    def _read(
        self,
        sample: Sample,
        span: tuple[int, int],
        indices: Iterable[int],
        decode: Callable[[bytes | memoryview, Sequence[int]], np.ndarray],
    ) -> np.ndarray:
        wanted, places = np.unique(np.fromiter(indices, np.int64), return_inverse=True)
        try:
            # Opened anew: a reader serves one thread at a time, and opening reads no more than its index.
            images = decode(self._bytes(sample.shard, *span), wanted.tolist())
        except (pa.ArrowException, ValueError, OSError) as error:
            raise UserError(
                f"Video {sample.video_id} cannot be read from {tar_path(self.uri, sample.shard)} ({error}): look with "
                f"`marey verify {self.uri}`."
            ) from error
        return images if np.array_equal(places, np.arange(len(wanted))) else images[places]

    def _bytes(self, shard: int, start: int, end: int) -> memoryview | bytes:
        if storage.is_local(self.uri):
            return self._shard(shard)[start:end]
        return storage.read_bytes(tar_path(self.uri, shard), start, end)

    def _open_shard(self, shard: int) -> memoryview:
        with open(tar_path(self.uri, shard), "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _choose(self, split: str | None) -> str:
        if split is None:
            return self.splits[0]
        if split not in self.splits:
            raise unknown(f"split of {self.uri}", split, self.splits)
        return split

    def _divide(self, manifest: pa.Table, fold: str) -> dict[str, str]:
        """Test on one group, train on all others; nothing is left to validate on."""
        key, _, name = fold.partition("=")
        if key != "group" or not name:
            raise UserError(f"The fold {fold!r} is not understood: write group=NAME.")
        if name not in self.groups:
            listed = f"its groups are: {first_ten(self.groups)}" if self.groups else "its videos have no groups"
            raise UserError(f"{self.uri} has no group {name!r}; {listed}.")
        video_ids, groups = manifest["video_id"].to_pylist(), manifest["group"].to_pylist()
        return {v: "test" if group == name else "train" for v, group in zip(video_ids, groups, strict=True)}

    def _read_index(self, manifest: pa.Table, num_shards: int) -> list[Sample]:
        columns = [manifest[name].to_pylist() for name in ("label_id", "group")]
        facts = dict(zip(manifest["video_id"].to_pylist(), zip(*columns, strict=True), strict=True))
        with ThreadPoolExecutor(_READERS, thread_name_prefix="marey-sidecars") as pool:
            shards = list(pool.map(lambda shard: self._index_shard(shard, facts), range(num_shards)))
        missing = sum(samples is None for samples in shards)
        if missing:
            raise UserError(
                f"{self.uri} is not finished, {missing} of {num_shards} shards are missing: run the same "
                "`marey prepare` again."
            )
        return [sample for samples in shards if samples for sample in samples]

    def _index_shard(self, shard: int, facts: dict[str, tuple[int, str | None]]) -> list[Sample] | None:
        sidecar = read_sidecar(self.uri, shard)
        if sidecar is None:
            return None
        ranges = {name: (offset, offset + size) for name, offset, size in sidecar["members"]}
        samples = []
        for record in sidecar["records"]:
            label_id, group = facts[record["video_id"]]
            for index, part in enumerate(record["parts"]):  # a failed video has none
                key = sample_key(record["video_id"], index + 1, len(record["parts"]))
                samples.append(
                    Sample(
                        video_id=record["video_id"],
                        part_index=index,
                        label_id=label_id,
                        label=self.classes[label_id],
                        frames=part["frames"],
                        flows=part["flows"],
                        shard=shard,
                        group=group,
                        height=record["height"],
                        width=record["width"],
                        rgb_range=ranges[f"{key}.{RGB[self.settings.rgb]}"],
                        flow_range=ranges.get(f"{key}.{FLOW}"),
                    )
                )
        return samples


def open_dataset(uri: str, split: str | None = None, fold: str | None = None) -> Dataset:
    """Open a prepared dataset at a path or URL.

    Args:
        uri: the folder that `marey prepare` made.
        split: a split of the dataset; None takes the first.
        fold: `group=NAME` instead of a split: test on that group, train on all others.

    Raises:
        UserError: there is no such dataset, split or group; it is of another format, or not finished.
    """
    return Dataset(uri, split, fold)
