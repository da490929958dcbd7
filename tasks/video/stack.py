"""A growing stack of frames that can be handed to another process without a copy."""

from __future__ import annotations

import mmap
import os
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
_NARROW = 3  # pixels; fewer do not fill a vector of the kernel


class FrameStack:
    """Frames of one size in an anonymous file in memory, whose `descriptor` a child hands to its parent."""

    def __init__(self, short_side: int | None = None) -> None:
        self.short_side = short_side
        self.shape: tuple[int, ...] = (0, 0, 0, 3)
        self.descriptor = os.memfd_create("marey-frames")

    def append(self, image: Image) -> None:
        """Resize uint8 [H,W,3] and add it; the first frame sets the size, even if the stream changes it later."""
        if self.shape[0] == 0:
            self.shape = (0, *resized_shape(image.shape[0], image.shape[1], self.short_side), 3)
        data = np.ascontiguousarray(resize(image, self.shape[1], self.shape[2])).data.cast("B")
        while data:
            data = data[os.write(self.descriptor, data) :]
        self.shape = (self.shape[0] + 1, *self.shape[1:])

    def clear(self) -> None:
        """Remove all frames."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self.shape = (0, 0, 0, 3)

    def images(self) -> Image:
        """Return a view of the frames, uint8 [T,H,W,3], which outlives the stack."""
        return map_images(self.descriptor, self.shape)

    def __enter__(self) -> FrameStack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)


def map_images(descriptor: int, shape: tuple[int, ...]) -> Image:
    """Return a view of the bytes behind a descriptor as uint8 `shape`; they are freed with the array."""
    return np.frombuffer(mmap.mmap(descriptor, int(np.prod(shape))), np.uint8).reshape(shape)


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
