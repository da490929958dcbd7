"""The solver as machine code: compiled by the first process on a machine, which keeps it for the others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import float32, float64, int64, njit, uint8

from tasks.video.native.solver import flow_of_stack

_SIGNATURE = int64(
    uint8[:, :, ::1],
    float64,
    float64,
    float64,
    int64,
    int64,
    float64,
    int64,
    int64,
    float64,
    int64,
    float32[:, :, :, ::1],
)
_log = logging.getLogger(__name__)


@cache
def solver() -> Callable[..., None]:
    """flow_of_stack(), compiled or loaded."""
    try:
        compiled = _entry(_digest(), cache=True)
    except RuntimeError as error:  # numba's, when no folder can be written
        _log.warning("Every process compiles the flow kernel anew; set NUMBA_CACHE_DIR to a folder. (%s)", error)
        compiled = _entry(0, cache=False)
        compiled.compile(_SIGNATURE)
        return compiled
    # Workers that start together wait for the first rather than compile beside it.
    with FileLock(Path(compiled.stats.cache_path) / "marey-tvl1.lock"):
        compiled.compile(_SIGNATURE)
    return compiled


def _entry(digest: int, cache: bool) -> Any:
    """numba looks for changes in this file alone; but what the entry closes over is in the cache's key too."""

    def tvl1_of_stack(
        gray: Any, tau: Any, lambda_: Any, theta: Any, scales: Any, warps: Any, epsilon: Any, inner: Any, outer: Any,
        scale_step: Any, window: Any, flow: Any,
    ) -> int:  # fmt: skip
        flow_of_stack(gray, tau, lambda_, theta, scales, warps, epsilon, inner, outer, scale_step, window, flow)
        return digest

    return njit(error_model="numpy", nogil=True, cache=cache)(tvl1_of_stack)


def _digest() -> int:
    """Of the kernel's sources."""
    content = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        content.update(file.read_bytes())
    return int.from_bytes(content.digest()[:7])
