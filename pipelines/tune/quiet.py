"""Keeps Ray Tune and Optuna from the terminal: marey says itself how a sweep goes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.environment import variables_set

SILENT = logging.CRITICAL + 1
LOGGERS = ("ray.tune", "ray.train", "ray.air", "optuna")
VARIABLES = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the other one writes a table even where it is told to be silent
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


@contextmanager
def quiet() -> Iterator[None]:
    """Let neither write to the terminal while the block runs; what a trial fails of reaches the sweep's callback."""
    import optuna  # sets its own level as it is imported

    assert optuna
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    with variables_set(VARIABLES), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(ray\.tune|optuna)\b")
        for logger in loggers:
            logger.setLevel(SILENT)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
