"""The kernels as machine code: compiled by the first process on a machine, which keeps them for the others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import float32, float64, int64, njit, uint8

from tasks.video.native.area import shrink
from tasks.video.native.solver import flow_of_stack

_STACK, _BYTES = uint8[:, :, ::1], uint8[::1]
_FLOW = int64(
    _STACK, float64, float64, float64, int64, int64, float64, int64, int64, float64, int64, float32[:, :, :, ::1]
)  # fmt: skip
_SHRINK = int64(_BYTES, int64, int64, _BYTES, int64, int64)
_log = logging.getLogger(__name__)


@cache
def solver() -> Callable[..., None]:
    """flow_of_stack(), compiled or loaded."""
    return _compiled(_flow, _FLOW)


@cache
def shrinker() -> Callable[..., None]:
    """shrink(), compiled or loaded."""
    return _compiled(_shrink, _SHRINK)


def _compiled(entry: Callable[[int], Callable[..., int]], signature: Any) -> Callable[..., None]:
    options = {"error_model": "numpy", "nogil": True}
    try:
        compiled = njit(cache=True, **options)(entry(_digest()))
    except RuntimeError as error:  # numba's, when no folder can be written
        _log.warning("Every process compiles the kernels anew; set NUMBA_CACHE_DIR to a folder. (%s)", error)
        compiled = njit(**options)(entry(0))
        compiled.compile(signature)
        return compiled
    # Workers that start together wait for the first rather than compile beside it.
    with FileLock(Path(compiled.stats.cache_path) / f"marey-{compiled.__name__}.lock"):
        compiled.compile(signature)
    return compiled


# numba looks for changes in this file alone; but what an entry closes over is in the cache's key too.


def _flow(digest: int) -> Callable[..., int]:
    def tvl1_of_stack(
        gray: Any, tau: Any, lambda_: Any, theta: Any, scales: Any, warps: Any, epsilon: Any, inner: Any, outer: Any,
        scale_step: Any, window: Any, flow: Any,
    ) -> int:  # fmt: skip
        flow_of_stack(gray, tau, lambda_, theta, scales, warps, epsilon, inner, outer, scale_step, window, flow)
        return digest

    return tvl1_of_stack


def _shrink(digest: int) -> Callable[..., int]:
    def area_average(image: Any, height: Any, width: Any, target: Any, new_height: Any, new_width: Any) -> int:
        shrink(image, height, width, target, new_height, new_width)
        return digest

    return area_average


def _digest() -> int:
    """Of the kernels' sources."""
    content = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        content.update(file.read_bytes())
    return int.from_bytes(content.digest()[:7])
