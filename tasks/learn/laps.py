"""Where the time of the steps goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

STEP = ("wait", "copy", "upstream", "forward", "backward", "sums", "optimizer", "report")
"""What a worker does one after the other: waits for clips, copies and normalises them, takes the step of upstream
parameters and the ordinary one, and reports, which includes the checkpoints since the epoch before ended."""
LOADER = ("decode", "augment")
"""What the loader's threads do meanwhile: read and decode; crop, resize and change."""


class Laps:
    """Seconds by name: what passes between two calls of `lap` is that of the second.

    On a GPU they are those of its own time line, idle or not, and nothing waits for it before `seconds`.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._seconds = dict.fromkeys((*STEP, *LOADER), 0.0)
        self._marks: list[tuple[str, Any]] = []

    def lap(self, name: str) -> None:
        """End a lap."""
        self._marks.append((name, _gpu_mark() if self._gpu else time.perf_counter()))

    def start(self) -> None:
        """Begin a lap; what has passed since the last one counts nowhere."""
        self._add_up()
        self._marks.clear()
        self.lap("")

    def add(self, name: str, seconds: float) -> None:
        """Add what was measured elsewhere."""
        self._seconds[name] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds since the last call."""
        self._add_up()
        seconds, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        return seconds

    def _add_up(self) -> None:
        for (_, before), (name, after) in zip(self._marks, self._marks[1:], strict=False):
            if self._gpu:
                after.synchronize()
            self._seconds[name] += before.elapsed_time(after) / 1000 if self._gpu else after - before
        del self._marks[:-1]


def _gpu_mark() -> torch.cuda.Event:
    import torch

    mark = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    mark.record()
    return mark


def shares(seconds: dict[str, float], threads: int) -> dict[str, float]:
    """Return percentages: of the workers' time for what they do, of the threads' time for what the loader does.

    Args:
        seconds: those of each name, over all workers.
        threads: of each worker's loader.
    """
    total = sum(seconds[name] for name in STEP)
    return {
        f"workers/epoch/{name}_percent": 100 * own / (total * (threads if name in LOADER else 1))
        for name, own in seconds.items()
    }
