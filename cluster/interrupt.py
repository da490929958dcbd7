"""SIGTERM as Ctrl-C: what is sent by `kill`, a batch system or `marey stop` ends a process in one line."""

from __future__ import annotations

import signal
import threading
from types import FrameType

TOLD = "stopped by SIGTERM; what was finished is kept, and the same command resumes from there"


def end_by_interrupt() -> None:
    """Let SIGTERM interrupt this process, unless it has a handler of its own."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        hear()


def hear() -> None:
    """Let SIGTERM interrupt this process, whatever has been listening to it; only the main thread can."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise what Ctrl-C raises, with a line about it."""
    raise KeyboardInterrupt(TOLD)
