"""What the decoders are asked for, and what they give back."""

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
    """Frames per second as the container says, or as the timestamps show; 0 where neither does."""
    decoder: str
    """`decord` or `pyav`; `opencv` for a folder of images."""
    total: int | None
    """Frames between `start_s` and `end_s`, where that is known without decoding them all."""


@dataclass(frozen=True)
class Window:
    """Frames to read: of those in [start_s, end_s), the ones numbered [first, first + count)."""

    start_s: float
    end_s: float
    first: int
    count: float

    @property
    def stop(self) -> float:
        """Number of the first frame behind the window."""
        return self.first + self.count


@dataclass
class Reading:
    """What a decoder found besides the images."""

    timestamps: list[float]
    total: int | None
    """Frames in [start_s, end_s), where known."""
    frames: int | None
    """Frames in the whole file, where its end was seen."""
    end_s: float
    """Where the last frame that was seen ends."""
