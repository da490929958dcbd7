"""Random access to the shards of a prepared dataset, by the index in their sidecars."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from tasks.data import storage
from tasks.data.sample import FLOW, RGB, ArrowFile, read_rgb, sample_key
from tasks.data.shard import read_sidecar, tar_path
from tasks.data.tables import read_description, read_settings
from tasks.errors import UserError

_OPEN_SHARDS = 64
"""Shards mapped at once, each a file descriptor; the order of an epoch has far fewer of them in use at a time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A video, or one of the consecutive pieces of a long one."""

    video_id: str
    piece_index: int
    """Counted from 0."""
    label_id: int
    label: str
    frames: int
    flows: int
    """Number of frame pairs with flow: frames - 1, or frames if another piece follows; 0 without flow."""
    shard: int
    group: str | None
    height: int
    width: int
    rgb_range: tuple[int, int]
    """Offsets in the shard where its frames start and end, in bytes."""
    flow_range: tuple[int, int] | None


class Reader:
    """Reads any frame of any sample of a prepared dataset, from any thread."""

    def __init__(self, uri: str) -> None:
        self.uri = storage.absolute(uri)
        self.description = read_description(self.uri)
        self.classes: list[str] = self.description["classes"]
        self.digest: str = self.description["digest"]
        self.settings = read_settings(self.description)
        self._shard = lru_cache(_OPEN_SHARDS)(self._open_shard)

    def index(self, shard: int, facts: Mapping[str, tuple[int, str | None]]) -> list[Sample] | None:
        """Return the samples of a shard in their order; None if the shard was never finished.

        Args:
            shard: its number.
            facts: video_id -> (label_id, group), for all its videos.
        """
        sidecar = read_sidecar(self.uri, shard)
        if sidecar is None:
            return None
        ranges = {name: (offset, offset + size) for name, offset, size in sidecar["members"]}
        samples = []
        for record in sidecar["records"]:
            label_id, group = facts[record["video_id"]]
            for index, piece in enumerate(record["pieces"]):  # a failed video has none
                key = sample_key(record["video_id"], index + 1, len(record["pieces"]))
                samples.append(
                    Sample(
                        video_id=record["video_id"],
                        piece_index=index,
                        label_id=label_id,
                        label=self.classes[label_id],
                        frames=piece["frames"],
                        flows=piece["flows"],
                        shard=shard,
                        group=group,
                        height=record["height"],
                        width=record["width"],
                        rgb_range=ranges[f"{key}.{RGB[self.settings.rgb]}"],
                        flow_range=ranges.get(f"{key}.{FLOW}"),
                    )
                )
        return samples

    def rgb(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return frames, uint8 [n, H, W, 3], in the order asked for; each is decoded once."""

        def decode(data: bytes | memoryview, wanted: Sequence[int]) -> np.ndarray:
            return read_rgb(data, wanted, self.settings.rgb, height=sample.height, width=sample.width)

        return self._read(sample, sample.rgb_range, indices, decode)

    def flow(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return quantised flow, uint8 [n, 2, H, W], x before y; UserError if the dataset has none."""
        if sample.flow_range is None:
            raise self.no_flow()
        return self._read(sample, sample.flow_range, indices, lambda data, wanted: ArrowFile(data).flow(wanted))

    def no_flow(self) -> UserError:
        """Return the error for asking for flow that was not prepared."""
        return UserError(
            f"{self.uri} was prepared without optical flow: prepare the videos again, to another folder, with "
            "flow=tvl1, or use stream rgb"
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
            # Opened each time: an Arrow reader serves one thread, and opening it reads no more than the index.
            images = decode(self._bytes(sample.shard, *span), wanted.tolist())
        except (pa.ArrowException, ValueError, OSError) as error:
            raise UserError(
                f"video {sample.video_id} cannot be read from {tar_path(self.uri, sample.shard)} ({error}): check the "
                f"dataset with `marey verify {self.uri}`"
            ) from error
        return images if np.array_equal(places, np.arange(len(wanted))) else images[places]

    def _bytes(self, shard: int, start: int, end: int) -> memoryview | bytes:
        if storage.is_local(self.uri):
            return self._shard(shard)[start:end]
        return storage.read_bytes(tar_path(self.uri, shard), start, end)

    def _open_shard(self, shard: int) -> memoryview:
        with open(tar_path(self.uri, shard), "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
