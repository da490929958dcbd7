"""When the frames of a video are shown, and which of them a range of time holds: one rule for every decoder.

At a constant rate, frame k belongs to [k / fps, (k + 1) / fps), and a bound of a range is taken to be the nearest start
of a frame. At a variable rate a frame belongs to the range that holds its time stamp, give or take a millisecond. Time
stamps are whole ticks of the container's clock, of which some round each one: to a millisecond in Matroska and FLV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.video.reading import Window

TOLERANCE_S = 1e-3
"""How far a bound of a range may be above a frame's time stamp, at a variable rate: annotations have three decimals."""
JITTER = 0.25
"""Largest distance of a frame from its place, as a fraction of the frame period, that counts as a constant rate."""


@dataclass(frozen=True)
class Timeline:
    """The frames of a video in the order in which they are shown."""

    stamps: NDArray[np.int64]
    """[T], ascending: time of each frame, in ticks."""
    tick_s: float
    """Seconds per tick."""
    last_s: float
    """How long the last frame is shown, in seconds."""

    @property
    def end_s(self) -> float:
        """When the last frame ends, in seconds after the first begins."""
        return float(self.starts[-1]) + self.last_s if len(self.stamps) else 0.0

    @cached_property
    def starts(self) -> NDArray[np.float64]:
        """Time of each frame, [T], in seconds after the first."""
        return np.asarray((self.stamps - self.stamps[:1]) * self.tick_s, np.float64)

    def span(self, window: Window) -> tuple[int, int]:
        """Return the number of the first frame of the window's time, and of the first one after it."""
        return self._before(window.start_s), self._before(window.end_s)

    def _before(self, time_s: float) -> int:
        """Return how many frames belong before a time."""
        if math.isinf(time_s):
            return len(self.stamps)
        number = int(np.searchsorted(self._latest, time_s))
        # Frames of one time stamp cannot be told apart by it, so they stay together.
        return int(np.searchsorted(self.stamps, self.stamps[number])) if number < len(self.stamps) else number

    @cached_property
    def _latest(self) -> NDArray[np.float64]:
        """Latest bound, for each frame, that still has the frame behind it; [T], in seconds."""
        gaps = np.diff(self.starts, append=self.end_s)
        if len(gaps) > 1:
            period = float(self.starts[-1]) / (len(gaps) - 1)
            places = np.arange(len(gaps)) * period
            if (np.abs(self.starts - places) <= JITTER * period).all():
                return np.asarray(places + period / 2, np.float64)
        elif len(gaps) == 1:
            return np.asarray(gaps / 2, np.float64)
        return np.asarray(self.starts + np.minimum(TOLERANCE_S, gaps / 2), np.float64)
