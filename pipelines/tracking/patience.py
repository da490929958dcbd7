"""Waiting for a store that is away, where nobody is there to give a command again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from cluster.errors import ClusterError

T = TypeVar("T")

OUTAGE_S = 900.0
"""How long a sweep and its trials wait for MLflow's server."""
PAUSE_S = 5.0

log = logging.getLogger(__name__)


def outlast(call: Callable[[], T], seconds: float = OUTAGE_S) -> T:
    """Return the result of a call to MLflow, made again while the store is away; call only what may be repeated.

    Raises:
        ClusterError: it is still away after so many seconds.
    """
    deadline = time.monotonic() + seconds
    warned = False
    while True:
        try:
            return call()
        except ClusterError as error:
            if time.monotonic() + PAUSE_S > deadline:
                raise
            if not warned:
                log.warning("waiting up to %.0f minutes: %s", seconds / 60, error)
            warned = True
            time.sleep(PAUSE_S)
