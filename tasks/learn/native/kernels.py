"""The kernels of this folder as machine code."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import float32, int64

from tasks.learn.native.soft_pool import gradient, pool
from tasks.native.compiled import compiled

_FLAT = float32[::1]
_POOL = int64(_FLAT, _FLAT, int64, int64, int64)
_GRADIENT = int64(_FLAT, _FLAT, _FLAT, int64, int64, int64)


@cache
def pooler() -> Callable[..., None]:
    """pool(), compiled or loaded."""
    return compiled(_pool, _POOL)


@cache
def differentiator() -> Callable[..., None]:
    """gradient(), compiled or loaded."""
    return compiled(_gradient, _GRADIENT)


def _pool(digest: int) -> Callable[..., int]:
    def soft_pool(x: Any, pooled: Any, begin: Any, end: Any, columns: Any) -> int:
        pool(x, pooled, begin, end, columns)
        return digest

    return soft_pool


def _gradient(digest: int) -> Callable[..., int]:
    def soft_pool_gradient(x: Any, of_pooled: Any, of_x: Any, begin: Any, end: Any, columns: Any) -> int:
        gradient(x, of_pooled, of_x, begin, end, columns)
        return digest

    return soft_pool_gradient
