"""Requests to the decoders, and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Decoder = Literal["auto", "decord", "pyav"]


@dataclass
class Frames:
    """Decoded frames of a range of a video."""

    images: NDArray[np.uint8]
    """RGB, [T,H,W,3], upright."""
    timestamps: NDArray[np.float64]
    """[T], seconds since the first frame of the file."""
    fps: float
    """Frames per second as declared by the container, or by the timestamps; 0 if neither gives it."""
    decoder: str
    """`decord` or `pyav`; `opencv` for a folder of images."""
    total: int | None
    """Number of frames between `start_s` and `end_s`, if known without decoding them all."""


@dataclass(frozen=True)
class Window:
    """The frames to read: of those in [start_s, end_s), the ones numbered [first, first + count)."""

    start_s: float
    end_s: float
    first: int
    count: float

    @property
    def stop(self) -> float:
        """Number of the first frame after the window."""
        return self.first + self.count


@dataclass
class Reading:
    """What a decoder found, except the images."""

    timestamps: list[float]
    total: int | None
    """Number of frames in [start_s, end_s), if known."""
    frames: int | None
    """Number of frames in the whole file, if its end was reached."""
    end_s: float
    """End of the last decoded frame."""
