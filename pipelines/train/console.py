"""A training's progress on the console: a thread of the driver that follows what rank 0 reports.

Ray would prefix every line that a worker prints, and mix it with its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import timedelta

from cluster.waiting import waiting
from pipelines.compute.beside import Beside
from pipelines.tracking import RunFolder
from tasks.learn.laps import STEP

log = logging.getLogger(__name__)

POLL_S = 0.3
EVERY_S = 10.0
"""Seconds between two lines within an epoch."""


class Console(Beside):
    """Logs a line per epoch, and one every ten seconds within an epoch, while its context is open."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__("console")
        self._progress = folder.follow_progress()
        self._started: tuple[float, int] | None = None
        self._shown = time.time()

    def _follow(self) -> None:
        stopping = False
        with waiting("the first step: workers start, load torch and read their first clips") as over:
            while not stopping:
                stopping = self._stop.wait(POLL_S)  # reports from before the stop are still shown
                for report in self._progress.new_reports(last=stopping):
                    over()
                    self._show(report)

    def _show(self, report: Mapping[str, float | str]) -> None:
        if report["kind"] == "note":
            log.warning("%s", report["text"])
            self._started = None  # what workers took that are no more says nothing about those that go on
            return
        now, step, steps = float(report["time"]), int(report["step"]), int(report["steps"])
        if self._started is None:
            self._started = (now, step)
        if report["kind"] == "epoch" or now - self._shown >= EVERY_S:
            self._shown = now
            log.info("%s", progress_line(report, self._left(now, step, steps)))
            if "workers/epoch/wait_percent" in report:
                log.info("%s", time_line(report))

    def _left(self, now: float, step: int, steps: int) -> float | None:
        assert self._started is not None
        began, first = self._started
        return (now - began) / (step - first) * (steps - step) if first < step < steps else None


def time_line(report: Mapping[str, float | str]) -> str:
    """Return one line with where the time of an epoch went."""
    shown = [
        f"{name} {percent:.0f}" for name in STEP if (percent := float(report[f"workers/epoch/{name}_percent"])) >= 0.5
    ]
    saved = float(report["workers/epoch/saved_by_free_loader_percent"])
    return f"time in %: {', '.join(shown)}; with a free loader it would take {saved:.0f} % less"


def epoch_words(report: Mapping[str, float | str]) -> str:
    """Return how many epochs of how many are done."""
    width = len(str(report["epochs"]))
    epoch = float(report["epoch"])
    done = f"{epoch:{width}.0f}" if epoch.is_integer() else f"{epoch:.1f}"
    return f"epoch {done}/{report['epochs']}"


def progress_line(report: Mapping[str, float | str], left_s: float | None) -> str:
    """Return one line with the epoch, the loss, the accuracies, the speed and the time left."""
    words = [
        epoch_words(report),
        f"loss {report['train/loss']:z6.3f}",
        f"train {report['train/top1_percent']:5.1f} %",
    ]
    if "val/top1_percent" in report:
        words.append(f"val {report['val/top1_percent']:5.1f} %")
    words.append(f"{report['workers/clips_per_s']:.3g} clips/s")
    if left_s is not None:
        words.append(f"{timedelta(seconds=round(left_s))} left")
    return "  ".join(words)
