"""Progress of long work: a bar on a terminal, else a line in the log every ten seconds."""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta
from types import TracebackType

from tqdm import tqdm

from cluster.waiting import broken
from pipelines.tracking.progress import report_of_job

EVERY_S = 10.0
"""Seconds between two lines in the log, and between two reports of a job."""

log = logging.getLogger(__name__)


class Progress:
    """A bar that counts units of work; a context manager."""

    def __init__(self, total: int, unit: str, *, before: int = 0, shown: bool = True) -> None:
        """Start counting.

        Args:
            total: how many units there are to do.
            unit: a noun such as `video`.
            before: how many were done by earlier calls; they count in what a job reports.
            shown: whether the terminal, or the log, shows them.
        """
        self.total, self.shown = total, shown
        self.unit = unit if total == 1 else f"{unit}s"
        self.done = 0
        self._note = ""
        self._before = before
        self.started = self._logged = self._reported = time.monotonic()
        terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(total=total, unit=f" {self.unit}", dynamic_ncols=True, smoothing=0.05) if terminal else None

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    def update(self, count: int = 1, note: str = "") -> None:
        """Count `count` more as done; `note` follows the count, such as a rate or failures so far."""
        self.done += count
        self._note = note
        if time.monotonic() - self._reported >= EVERY_S:
            self._report()
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif self.shown and time.monotonic() - self._logged >= EVERY_S:
            self._logged = time.monotonic()
            rate = self.done / self.seconds
            left = timedelta(seconds=round((self.total - self.done) / rate)) if rate else "unknown"
            log.info(
                "%d of %d %s, %.3g/s, %s left%s", self.done, self.total, self.unit, rate, left, f", {note}" * bool(note)
            )

    def tick(self) -> None:
        """Refresh what is shown while nothing new is done."""
        self.update(0, self._note)

    def _report(self) -> None:
        self._reported = time.monotonic()
        report_of_job(self._before + self.done, self._before + self.total, self.unit)

    def __enter__(self) -> Progress:
        if self.shown:
            broken()
        self._report()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._report()
        if self._bar is not None:
            self._bar.close()
