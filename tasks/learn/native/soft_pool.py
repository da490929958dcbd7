"""SoftPool of windows of 2 x 2 positions, both ways, in one pass through memory.

Windows are taken in blocks of whole rows. First the four corners of a block's windows go to a line each, which stay in
cache; then eight windows are computed at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.native.simd import (
    LANES,
    Numbers,
    blocks,
    evens,
    first_pairs,
    floor,
    inline,
    jit,
    last_pairs,
    load,
    maximum,
    multiply_add,
    odds,
    power_of_two,
    splat,
    store,
)

BLOCK = 1024
"""Windows in a block, or one row: the lines of a block take 20 KB."""
_F = np.float32
_LOWEST = _F(-87)
"""Logarithm of about the least normal float32."""


@jit
def pool(x: Numbers, pooled: Numbers, begin: int, end: int, columns: int) -> None:
    """Rows [begin, end) of the pooled values, from flat x, whose rows are `2 * columns` wide."""
    step = max(BLOCK // columns, 1)
    size = step * columns + LANES
    corners, few = np.zeros(4 * size, _F), np.empty(LANES, _F)
    for row in range(begin, end, step):
        count = min(step, end - row)
        _take(x, row, count, columns, corners, size)
        for k in range(0, count * columns, LANES):
            highest, a, b, c, d = _below_highest(corners, k, size)
            wa, wb, wc, wd = _weights(a, b, c, d)
            mean = highest + _sum(wa, a, wb, b, wc, c, wd, d)
            if k + LANES <= count * columns:
                store(pooled, row * columns + k, mean)
            else:
                store(few, 0, mean)
                for i in range(count * columns - k):
                    pooled[row * columns + k + i] = few[i]


@jit
def gradient(x: Numbers, of_pooled: Numbers, of_x: Numbers, begin: int, end: int, columns: int) -> None:
    """The same rows of x's gradient, from that of the pooled values: weight * (1 + value - pooled) of each."""
    step = max(BLOCK // columns, 1)
    size = step * columns + LANES
    corners, few = np.zeros(4 * size, _F), np.zeros(LANES, _F)
    for row in range(begin, end, step):
        count = min(step, end - row)
        _take(x, row, count, columns, corners, size)
        for k in range(0, count * columns, LANES):
            at = row * columns + k
            if k + LANES <= count * columns:
                slope = load(of_pooled, at)
            else:
                for i in range(count * columns - k):
                    few[i] = of_pooled[at + i]
                slope = load(few, 0)
            _, a, b, c, d = _below_highest(corners, k, size)
            wa, wb, wc, wd = _weights(a, b, c, d)
            rest = splat(_F(1)) - _sum(wa, a, wb, b, wc, c, wd, d)
            store(corners, k, slope * wa * (rest + a))
            store(corners, size + k, slope * wb * (rest + b))
            store(corners, 2 * size + k, slope * wc * (rest + c))
            store(corners, 3 * size + k, slope * wd * (rest + d))
        _give(corners, size, row, count, columns, of_x)


@inline
def _below_highest(corners: Numbers, k: int, size: int) -> Any:
    """The highest of each window, and how far its values lie below."""
    a, b, c, d = load(corners, k), load(corners, size + k), load(corners, 2 * size + k), load(corners, 3 * size + k)
    highest, lowest = maximum(maximum(a, b), maximum(c, d)), splat(_LOWEST)
    # What lies further below weighs nothing, and must not be infinite; what is no number stays so.
    a, b = maximum(lowest, a - highest), maximum(lowest, b - highest)
    c, d = maximum(lowest, c - highest), maximum(lowest, d - highest)
    return highest, a, b, c, d


@inline
def _sum(wa: Any, a: Any, wb: Any, b: Any, wc: Any, c: Any, wd: Any, d: Any) -> Any:
    return multiply_add(wa, a, multiply_add(wb, b, multiply_add(wc, c, wd * d)))


@inline
def _weights(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Softmax of values of which the highest is 0."""
    a, b, c, d = _exp(a), _exp(b), _exp(c), _exp(d)
    share = splat(_F(1)) / ((a + b) + (c + d))
    return a * share, b * share, c * share, d * share


@inline
def _exp(x: Any) -> Any:
    """e to the power of numbers up to 0, to 1e-7; Cephes' expf (S. Moshier, 1989). Below -87 it stays at 1e-38."""
    x = maximum(x, splat(_LOWEST))
    whole = floor(multiply_add(x, splat(_F(1.44269504)), splat(_F(0.5))))
    x = multiply_add(whole, splat(_F(2.12194440e-4)), multiply_add(whole, splat(_F(-0.693359375)), x))
    y = multiply_add(splat(_F(1.9875691500e-4)), x, splat(_F(1.3981999507e-3)))
    y = multiply_add(y, x, splat(_F(8.3334519073e-3)))
    y = multiply_add(y, x, splat(_F(4.1665795894e-2)))
    y = multiply_add(y, x, splat(_F(1.6666665459e-1)))
    y = multiply_add(y, x, splat(_F(5.0000001201e-1)))
    return (multiply_add(y * x, x, x) + splat(_F(1))) * power_of_two(whole)


@jit
def _take(x: Numbers, row: int, count: int, columns: int, corners: Numbers, size: int) -> None:
    """The corners of so many rows of windows."""
    for i in range(2 * count):
        at, to = (2 * row + i) * 2 * columns, (i % 2) * 2 * size + i // 2 * columns
        if columns < LANES:
            for j in range(columns):
                corners[to + j] = x[at + 2 * j]
                corners[to + size + j] = x[at + 2 * j + 1]
        else:
            for block in range(blocks(columns)):
                j = min(block * LANES, columns - LANES)  # the last vector ends with the row
                left, right = load(x, at + 2 * j), load(x, at + 2 * j + LANES)
                store(corners, to + j, evens(left, right))
                store(corners, to + size + j, odds(left, right))


@jit
def _give(corners: Numbers, size: int, row: int, count: int, columns: int, x: Numbers) -> None:
    """`_take` backwards."""
    for i in range(2 * count):
        at, to = (2 * row + i) * 2 * columns, (i % 2) * 2 * size + i // 2 * columns
        if columns < LANES:
            for j in range(columns):
                x[at + 2 * j] = corners[to + j]
                x[at + 2 * j + 1] = corners[to + size + j]
        else:
            for block in range(blocks(columns)):
                j = min(block * LANES, columns - LANES)
                even, odd = load(corners, to + j), load(corners, to + size + j)
                store(x, at + 2 * j, first_pairs(even, odd))
                store(x, at + 2 * j + LANES, last_pairs(even, odd))
