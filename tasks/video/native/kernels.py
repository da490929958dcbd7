"""The compiled kernels of this folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import float32, float64, int64, uint8

from tasks.native.compiled import compiled
from tasks.video.native.area import shrink
from tasks.video.native.solver import flow_of_stack

_STACK, _BYTES = uint8[:, :, ::1], uint8[::1]
_FLOW = int64(
    _STACK, float64, float64, float64, int64, int64, float64, int64, int64, float64, int64, float32[:, :, :, ::1]
)  # fmt: skip
_SHRINK = int64(_BYTES, int64, int64, _BYTES, int64, int64)


@cache
def solver() -> Callable[..., None]:
    """Return flow_of_stack(), compiled or loaded."""
    return compiled(_flow, _FLOW)


@cache
def shrinker() -> Callable[..., None]:
    """Return shrink(), compiled or loaded."""
    return compiled(_shrink, _SHRINK)


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
