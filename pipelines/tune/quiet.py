"""Keeps Ray Tune and Optuna from the terminal: marey says how a sweep goes, and they write to the sweep's log."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cluster.environment import variables_set
from pipelines.tracking.run_folder import SweepFolder
from tasks.errors import UserError

log = logging.getLogger(__name__)

LOGGERS = ("ray.tune", "ray.train", "ray.air", "optuna")
VARIABLES = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the other one writes a table even where it is told to be silent
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "1",  # to the log
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that diverges in its first epoch ends without a report
}
THEIRS = re.compile(r"/(ray/tune|optuna)/")
"""Where a warning of theirs comes from."""


@contextmanager
def quiet(folder: SweepFolder) -> Iterator[None]:
    """Let both write to the sweep's log instead of the terminal while the block runs; an error names the log."""
    import optuna  # sets its own level as it is imported

    assert optuna
    with ExitStack() as stack:
        handler = _LogFile(stack.enter_context(folder.open_log()))
        stack.callback(handler.close)
        for name in LOGGERS:
            stack.enter_context(_written(logging.getLogger(name), handler))
        stack.enter_context(variables_set(VARIABLES))
        stack.enter_context(_warnings_written(handler))
        try:
            yield
        except UserError:  # which names the log itself where that says more
            raise
        except Exception:
            log.warning("Ray Tune's log: %s", folder.log)
            raise


class _LogFile(logging.FileHandler):
    """Adds to a log; what a full disk does not take is left out."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:
        """Write nothing, where logging itself would write to the terminal."""


@contextmanager
def _written(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """Let a logger write to one handler alone."""
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.level, logger.propagate = [handler], logging.INFO, False
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before


@contextmanager
def _warnings_written(handler: logging.Handler) -> Iterator[None]:
    """Let Python's warnings of both be written as well, and all others be shown."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
            if THEIRS.search(filename):
                told = {"name": filename, "levelname": category.__name__, "msg": str(message)}
                handler.handle(logging.makeLogRecord(told))
            else:
                shown(message, category, filename, lineno, *rest)

        warnings.showwarning = show  # type: ignore[assignment]
        yield
