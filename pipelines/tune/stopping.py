"""How a sweep is stopped: Ctrl-C, or SIGTERM as `marey stop` sends it, has Ray Tune save its state and end."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipelines.train.stopping import SIGNALS

log = logging.getLogger(__name__)


@contextmanager
def stoppable(name: str) -> Iterator[None]:
    """Pass the first signal on to the Ray Tune that runs in the block; a second one ends it at once.

    Tune saves its state on SIGUSR1 and returns as if the sweep had come to its end. It does so on Ctrl-C as well, but
    does not tell. Only the main thread hears signals.

    Raises:
        KeyboardInterrupt: the sweep was stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt("stopped at once; the same command goes on from what the sweep had saved")
        stopped = True
        log.info("stopping; a second Ctrl-C stops at once")
        os.kill(os.getpid(), signal.SIGUSR1)

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise KeyboardInterrupt(f"stopped; the same command goes on with the sweep {name}")
