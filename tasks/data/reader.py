"""Random access to the shards of a prepared dataset, by the index in their sidecars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tasks.data import storage
from tasks.data.arrow_file import Sliceable
from tasks.data.ranges import FileRange, OpenFile
from tasks.data.sample import FLOW, RGB, open_arrow, read_rgb, sample_key
from tasks.data.shard import tar_path
from tasks.data.shard_cache import ShardCache, limit_bytes
from tasks.data.sidecar import DamagedSidecar, read_sidecar
from tasks.data.tables import read_description, read_settings
from tasks.errors import UserError
from tasks.words import counted

_OPEN_SHARDS = 64
"""Shards open at once, each a file descriptor; the order of an epoch has far fewer of them in use at a time."""


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
        limit = 0 if storage.is_local(self.uri) else limit_bytes()
        self._cache = ShardCache(self.uri, limit) if limit else None

    def index(self, shard: int, facts: Mapping[str, tuple[int, str | None]]) -> list[Sample] | None:
        """Return the samples of a shard in their order; None if the shard was never finished.

        Args:
            shard: its number.
            facts: video_id -> (label_id, group), for all its videos and no others.

        Raises:
            UserError: its sidecar is damaged, or does not belong here.
        """
        sidecar = read_sidecar(self.uri, shard)
        if sidecar is None:
            return None
        if sidecar["settings"] != self.description["settings_digest"]:
            raise DamagedSidecar(self.uri, shard, "its shard was made with other settings")
        if sorted(record["video_id"] for record in sidecar["records"]) != sorted(facts):
            raise DamagedSidecar(self.uri, shard, "its shard holds other videos than planned")
        ranges = {name: (offset, offset + size) for name, offset, size in sidecar["members"]}
        return [
            self._sample(shard, record, index, ranges, facts[record["video_id"]])
            for record in sidecar["records"]
            for index in range(len(record["pieces"]))  # a failed video has none
        ]

    def _sample(
        self,
        shard: int,
        record: dict[str, Any],
        index: int,
        ranges: dict[str, tuple[int, int]],
        facts: tuple[int, str | None],
    ) -> Sample:
        piece = record["pieces"][index]
        frames, flows = piece["frames"], piece["flows"]
        key = sample_key(record["video_id"], index + 1, len(record["pieces"]))
        rgb, flow = ranges.get(f"{key}.{RGB[self.settings.rgb]}"), ranges.get(f"{key}.{FLOW}")
        has_flow = self.settings.flow != "none"
        if rgb is None or (flow is not None) != has_flow:
            raise DamagedSidecar(self.uri, shard, f"it lacks frames or flow of {key!r}")
        # The flow to the first frame of the next piece is one more.
        if not 0 < frames <= rgb[1] - rgb[0] or flows not in ((frames - 1, frames) if has_flow else (0,)):
            raise DamagedSidecar(
                self.uri, shard, f"it has {counted(frames, 'frame')} and {counted(flows, 'flow')} of {key!r}"
            )
        label_id, group = facts
        return Sample(
            video_id=record["video_id"],
            piece_index=index,
            label_id=label_id,
            label=self.classes[label_id],
            frames=frames,
            flows=flows,
            shard=shard,
            group=group,
            height=record["height"],
            width=record["width"],
            rgb_range=rgb,
            flow_range=flow,
        )

    def rgb(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return frames, uint8 [n, H, W, 3], in the order asked for; each is decoded once.

        Raises:
            UserError: they cannot be read, or do not match their checksums.
        """
        size = {"frames": sample.frames, "height": sample.height, "width": sample.width}

        def decode(data: Sliceable, wanted: Sequence[int]) -> np.ndarray:
            return read_rgb(data, wanted, self.settings.rgb, **size)

        return self._read(sample, sample.rgb_range, indices, decode)

    def flow(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return quantised flow, uint8 [n, 2, H, W], x before y.

        Raises:
            UserError: the dataset has none, or it cannot be read, or does not match its checksums.
        """
        if sample.flow_range is None:
            raise self.no_flow()

        def decode(data: Sliceable, wanted: Sequence[int]) -> np.ndarray:
            return open_arrow(data, sample.flows).flow(wanted, (sample.height, sample.width))

        return self._read(sample, sample.flow_range, indices, decode)

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
        decode: Callable[[Sliceable, Sequence[int]], np.ndarray],
    ) -> np.ndarray:
        wanted, places = np.unique(np.fromiter(indices, np.int64), return_inverse=True)
        try:
            try:
                images = decode(self._bytes(sample.shard, *span), wanted.tolist())
            except (ValueError, OSError):
                if self._cache is None or not self._cache.is_damaged(sample.shard):
                    raise
                images = decode(self._bytes(sample.shard, *span), wanted.tolist())
        except (ValueError, OSError) as error:
            raise UserError(
                f"video {sample.video_id} cannot be read from {tar_path(self.uri, sample.shard)} ({error}): check the "
                f"dataset with `marey verify {self.uri}`"
            ) from error
        return images if np.array_equal(places, np.arange(len(wanted))) else images[places]

    def _bytes(self, shard: int, start: int, end: int) -> FileRange | bytes:
        if storage.is_local(self.uri):
            return FileRange(self._shard(shard), start, end)
        if self._cache is not None and (copy := self._cache.open(shard)):
            return FileRange(copy, start, end)
        return storage.read_bytes(tar_path(self.uri, shard), start, end)

    def _open_shard(self, shard: int) -> OpenFile:
        return OpenFile(tar_path(self.uri, shard))
