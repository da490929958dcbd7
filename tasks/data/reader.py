"""Random access to the frames and flow in the shards of a prepared dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np

from tasks.data import storage
from tasks.data.arrow_file import Planes, Sliceable
from tasks.data.ranges import FileRange, OpenFile
from tasks.data.sample import open_arrow, read_rgb
from tasks.data.shard import tar_path
from tasks.data.shard_cache import ShardCache, limit_bytes
from tasks.data.tables import read_description, read_settings
from tasks.errors import UserError

_OPEN_SHARDS = 64
"""Shards open at once, each a file descriptor; the order of an epoch has far fewer of them in use at a time."""
T = TypeVar("T")


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


def piece_with(pieces: Sequence[Sample], frame: int) -> tuple[Sample, int]:
    """Return the piece of a video that holds a frame of it, and the number of the frame in that piece."""
    for piece in pieces[:-1]:
        if frame < piece.frames:
            return piece, frame
        frame -= piece.frames
    return pieces[-1], frame


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

    def rgb(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return frames, uint8 [n, H, W, 3], in the order asked for; each is decoded once.

        Raises:
            UserError: they cannot be read, or do not match their checksums.
        """
        return _gathered(partial(self.each_rgb, sample), indices)

    def each_rgb(self, sample: Sample, indices: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield the frames of `rgb`, uint8 [H, W, 3], each decoded when it is its turn; `indices` ascend."""

        def decode(data: Sliceable, wanted: Sequence[int]) -> Iterator[np.ndarray]:
            size = sample.height, sample.width
            if self.settings.rgb == "jpeg":
                return open_arrow(data, sample.frames).each_rgb(wanted, size)
            return iter(read_rgb(data, wanted, "h264", height=size[0], width=size[1]))

        return self._each(sample, sample.rgb_range, indices, decode)

    def flow(self, sample: Sample, indices: Iterable[int]) -> np.ndarray:
        """Return quantised flow, uint8 [n, 2, H, W], x before y.

        Raises:
            UserError: the dataset has none, or it cannot be read, or does not match its checksums.
        """
        return _gathered(partial(self.each_flow, sample), indices)

    def each_flow(self, sample: Sample, indices: Iterable[int]) -> Iterator[Planes]:
        """Yield the flow of `flow`, uint8 [H, W] twice, each pair decoded when it is its turn; `indices` ascend."""
        if sample.flow_range is None:
            raise self.no_flow()

        def decode(data: Sliceable, wanted: Sequence[int]) -> Iterator[Planes]:
            return open_arrow(data, sample.flows).each_flow(wanted, (sample.height, sample.width))

        return self._each(sample, sample.flow_range, indices, decode)

    def no_flow(self) -> UserError:
        """Return the error for asking for flow that was not prepared."""
        return UserError(
            f"{self.uri} was prepared without optical flow: prepare the videos again, to another folder, with "
            "flow=tvl1, or use stream rgb"
        )

    def _each(
        self,
        sample: Sample,
        span: tuple[int, int],
        indices: Iterable[int],
        decode: Callable[[Sliceable, Sequence[int]], Iterator[T]],
    ) -> Iterator[T]:
        left = [*indices]
        try:
            try:
                for image in decode(self._bytes(sample.shard, *span), left.copy()):
                    yield image
                    del left[0]
            except (ValueError, OSError):
                if self._cache is None or not self._cache.is_damaged(sample.shard):
                    raise
                yield from decode(self._bytes(sample.shard, *span), left)
        except (ValueError, OSError) as error:
            raise UserError(
                f"video {sample.video_id} cannot be read from {tar_path(self.uri, sample.shard)} ({error}): check the "
                f"dataset with `marey verify {self.uri}`"
            ) from error

    def _bytes(self, shard: int, start: int, end: int) -> FileRange | bytes:
        if storage.is_local(self.uri):
            return FileRange(self._shard(shard), start, end)
        if self._cache is not None and (copy := self._cache.open(shard)):
            return FileRange(copy, start, end)
        return storage.read_bytes(tar_path(self.uri, shard), start, end)

    def _open_shard(self, shard: int) -> OpenFile:
        return OpenFile(tar_path(self.uri, shard))


def _gathered(each: Callable[[Iterable[int]], Iterator[Any]], indices: Iterable[int]) -> np.ndarray:
    """Return images in the order asked for, uint8 [n, ...]; `each` yields those of ascending indices."""
    wanted, places = np.unique(np.fromiter(indices, np.int64), return_inverse=True)
    images: np.ndarray | None = None
    for place, image in enumerate(each(wanted.tolist())):
        if images is None:
            images = np.empty((len(wanted), *np.shape(image)), np.uint8)
        images[place] = image  # while the processor still holds it
    if images is None:
        raise ValueError("no image is asked for")
    return images if np.array_equal(places, np.arange(len(wanted))) else images[places]
