"""Breaks a silence: says what is being waited for, where that takes longer than a user looks at nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SILENT_S = 4.0
"""How long a step may take without a word."""

log = logging.getLogger(__name__)

_open: list[_Wait] = []
"""What would be said if nothing else were."""


class _Wait:
    """Says once what is waited for, some seconds after the last line."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._begin()

    def _begin(self) -> None:
        self._timer = threading.Timer(SILENT_S, self._say)
        self._timer.daemon = True
        self._timer.start()

    def begin_anew(self) -> None:
        """Count the seconds from now on."""
        self._timer.cancel()
        self._begin()

    def end(self) -> None:
        """Say nothing any more."""
        self._timer.cancel()
        with suppress(ValueError):
            _open.remove(self)

    def _say(self) -> None:
        self.end()
        log.info("waiting for %s", self._what)


@contextmanager
def waiting(what: str) -> Iterator[Callable[[], None]]:
    """Say what the block waits for, if it lasts; yield what is called once that has come, where it is before its end.

    Within it another such block, or a bar, takes its place.

    Args:
        what: what comes after "waiting for", such as `Ray to start on this machine`.
    """
    broken()
    wait = _Wait(what)
    _open.append(wait)
    try:
        yield wait.end
    finally:
        wait.end()


def broken() -> None:
    """Note that something is shown that lasts, such as a bar."""
    for wait in _open[:]:
        wait.end()


def heard(record: object = None) -> bool:
    """Note that a line is written; as a filter of a log's handler it lets every record pass."""
    for wait in _open[:]:
        wait.begin_anew()
    return True
