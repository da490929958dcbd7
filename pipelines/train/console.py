"""A training's progress on the console: a thread of the driver that follows the file rank 0 writes.

Ray would prefix every line that a worker prints, and mix it with its own.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)

POLL_S = 0.3
EVERY_S = 10.0
"""Between two lines within an epoch."""


class Console:
    """While the context is open, logs a line an epoch, and one every ten seconds within an epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._started: tuple[float, int] | None = None
        self._shown = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)

    def __enter__(self) -> Console:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(POLL_S)  # what was written before the stop is still shown
            if self.path.exists():
                with self.path.open() as file:
                    file.seek(self._offset)
                    # a line still being written waits for the next look
                    for text in iter(file.readline, ""):
                        if text.endswith("\n"):
                            self._offset += len(text.encode())
                            self._show(json.loads(text))

    def _show(self, line: Mapping[str, float | str]) -> None:
        now, step, steps = float(line["time"]), int(line["step"]), int(line["steps"])
        if self._started is None:
            self._started = (now, step)
        if line["kind"] == "epoch" or now - self._shown >= EVERY_S:
            self._shown = now
            log.info("%s", describe(line, self._left(now, step, steps)))

    def _left(self, now: float, step: int, steps: int) -> float | None:
        assert self._started is not None
        began, first = self._started
        return (now - began) / (step - first) * (steps - step) if first < step < steps else None


def describe(line: Mapping[str, float | str], left_s: float | None) -> str:
    """Return one line: epoch, loss, accuracies, speed, time left."""
    width = len(str(line["epochs"]))
    epoch = float(line["epoch"])
    words = [
        f"epoch {epoch:{width}.0f}/{line['epochs']}" if epoch.is_integer() else f"epoch {epoch:.1f}/{line['epochs']}",
        f"loss {line['train/loss']:6.3f}",
        f"train {line['train/top1_percent']:5.1f} %",
    ]
    if "val/top1_percent" in line:
        words.append(f"val {line['val/top1_percent']:5.1f} %")
    words.append(f"{line['speed/clips_per_s']:.3g} clips/s")
    if left_s is not None:
        words.append(f"{timedelta(seconds=round(left_s))} left")
    return "  ".join(words)
