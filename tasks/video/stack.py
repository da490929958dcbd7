"""A growing stack of frames that can be handed to another process without a copy."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_FUTURE_WRITE = 0x10  # F_SEAL_FUTURE_WRITE, from Linux 5.1 on
_NARROW = 3  # pixels; fewer do not fill a vector of the kernel


class FrameStack:
    """Frames of one size in an anonymous file in memory, which a parent can hand to its child to fill."""

    def __init__(self, short_side: int | None = None, descriptor: int | None = None) -> None:
        """Make an empty stack, in a file of its own or in one that exists."""
        self.short_side = short_side
        self.shape: tuple[int, ...] = (0, 0, 0, 3)
        self.descriptor = new_file() if descriptor is None else descriptor
        self._declared = (0, 0)

    def declare(self, height: int, width: int, frames: int) -> None:
        """Take note of the size of the frames to come, and of how many the video has; 0 if that is unknown.

        Called with what the container declares before it is decoded, and again if the first frame has another size.
        """
        self._declared = (height, width)

    def append(self, image: Image) -> None:
        """Resize uint8 [H,W,3] and add it; the first frame sets the size, even if the stream changes it later."""
        if self.shape[0] == 0:
            if image.shape[:2] != self._declared:
                self.declare(image.shape[0], image.shape[1], 0)
            self.shape = (0, *resized_shape(image.shape[0], image.shape[1], self.short_side), 3)
        self._write(np.ascontiguousarray(resize(image, self.shape[1], self.shape[2])))
        self.shape = (self.shape[0] + 1, *self.shape[1:])

    def finish(self, timestamps: Sequence[float]) -> None:
        """Add the time of each frame, so that `read_frames` finds it."""
        self._write(np.asarray(timestamps, np.float64))

    def clear(self) -> None:
        """Remove all frames."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self.shape = (0, 0, 0, 3)

    def images(self) -> Image:
        """Return a view of the frames, uint8 [T,H,W,3], which outlives the stack."""
        return _map(self.descriptor, self.shape, math.prod(self.shape))[0]

    def _write(self, array: NDArray[Any]) -> None:
        data = array.data.cast("B")
        while data:
            data = data[os.write(self.descriptor, data) :]

    def __enter__(self) -> FrameStack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)


def new_file() -> int:
    """Return the descriptor of an empty file in memory, for a stack."""
    return os.memfd_create("marey-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def read_frames(descriptor: int, shape: tuple[int, ...]) -> tuple[Image, NDArray[np.float64]]:
    """Take over the file of a finished stack.

    Args:
        descriptor: as it was made by `new_file`, even if the process that filled it is no longer trusted.
        shape: [T,H,W,3].

    Returns:
        The frames, whose memory is freed with the array, and their times in seconds.

    Raises:
        ValueError: the file has another size, or times that are not numbers.
    """
    # From now on it cannot shrink, which would end this process as soon as it reads beyond the end, nor be rewritten.
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS | _FUTURE_WRITE)
    except OSError:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    pixels, size = math.prod(shape), math.prod(shape) + 8 * shape[0]
    if os.fstat(descriptor).st_size != size:
        raise ValueError("another number of bytes than the frames have")
    images, rest = _map(descriptor, shape, size)
    times = np.frombuffer(bytes(rest[pixels:]), np.float64)
    if not np.isfinite(times).all():
        raise ValueError("times that are not numbers")
    return images, times


def _map(descriptor: int, shape: tuple[int, ...], size: int) -> tuple[Image, memoryview]:
    """Return the frames, and all `size` bytes of the file."""
    data = memoryview(mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE))
    return np.frombuffer(data[: math.prod(shape)], np.uint8).reshape(shape), data


def resized_shape(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Return height and width with the given shorter side and the same proportions, to the nearest pixel."""
    if short_side is None:
        return height, width
    short = min(height, width)
    return round(height * short_side / short), round(width * short_side / short)


def resize(image: Image, height: int, width: int) -> Image:
    """Resize uint8 RGB [H,W,3]: by area average to shrink, bilinearly to enlarge."""
    old_height, old_width = image.shape[:2]
    if (old_height, old_width) == (height, width):
        return image
    larger = height * width >= old_height * old_width
    halves = (old_height, old_width) == (2 * height, 2 * width)  # here OpenCV is as fast
    if larger or halves or min(width, old_width) < _NARROW:
        how = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
        return cv2.resize(image, (width, height), interpolation=how).astype(np.uint8, copy=False)
    from tasks.video.native.kernels import shrinker  # numba takes half a second

    resized = np.empty((height, width, 3), np.uint8)
    shrinker()(np.ascontiguousarray(image).reshape(-1), old_height, old_width, resized.reshape(-1), height, width)
    return resized
