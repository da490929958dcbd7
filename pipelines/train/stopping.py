"""How a training is stopped: Ctrl-C, or SIGTERM as `marey stop` sends it, ends it with a checkpoint."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from types import FrameType, TracebackType
from typing import Any, TypeVar

from cluster import ray_internals
from pipelines.tracking import RunFolder

T = TypeVar("T")
log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CHECKPOINT_S = 45.0
"""Time that the workers have for their checkpoint before they are ended without one."""
ENDING_S = 10.0
"""Time that Ray has to notice that the workers were ended."""
POLL_S = 0.2


class Stopping:
    """Passes the first signal on to the workers while its context is open; a second one ends them at once.

    Only the main thread hears signals; elsewhere, as in a trial of a sweep, it changes nothing.
    """

    def __init__(self, folder: RunFolder, *, alone: bool = False) -> None:
        """`alone`: whether this very thread trains, which a second signal then interrupts."""
        self._folder, self._alone = folder, alone
        self._asked: float | None = None
        self._again = False
        self._can_answer: bool | None = None
        """Whether there were workers when the signal came: they are gone again before Ray Train has ended."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        self._folder.clear_stop()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, fit: Callable[[], T], is_running: Callable[[], bool]) -> T:
        """Return what `fit` returns, called in another thread: Ray Train would take Ctrl-C for itself in this one.

        Raises:
            KeyboardInterrupt: the workers were not running when the signal came, or were ended without a checkpoint.
        """
        if not self._before:
            return fit()
        outcome: Future[T] = Future()
        threading.Thread(target=_settle, args=(outcome, fit), name="training", daemon=True).start()
        while not outcome.done():
            wait([outcome], timeout=POLL_S)
            if self._must_end(is_running):
                ray_internals.end_actors("TrainController")
                wait([outcome], timeout=ENDING_S)
                raise KeyboardInterrupt("stopped without a checkpoint; the same command goes on from the last one")
        return outcome.result()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            self._again = True
            if self._alone:
                raise KeyboardInterrupt("stopped at once; the same command goes on from the last checkpoint")
            return
        self._asked = time.monotonic()
        self._folder.ask_to_stop()
        log.info("stopping with a checkpoint; a second Ctrl-C stops at once")

    def _must_end(self, is_running: Callable[[], bool]) -> bool:
        if self._asked is None:
            return False
        if self._can_answer is None:
            self._can_answer = is_running()
        return self._again or time.monotonic() - self._asked > CHECKPOINT_S or not self._can_answer


def _settle(outcome: Future[T], fit: Callable[[], T]) -> None:
    try:
        outcome.set_result(fit())
    except BaseException as error:  # noqa: BLE001 for whoever waits
        outcome.set_exception(error)
