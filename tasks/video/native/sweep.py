"""One inner iteration of TV-L1: a row's primal update, then the dual one of the row above, while both are cached."""

from __future__ import annotations

import numpy as np

from tasks.native.simd import LANES, Numbers, blocks, inline, jit, lane, load, maximum, minimum, splat, sqrt, store
from tasks.video.native.field import FIELDS, INVERSE, IX, IY, MARGIN, RHO, P, U, pitch


@jit
def iterate(
    state: Numbers, height: int, width: int, limit: np.float32, theta: np.float32, step: np.float32, tail: Numbers
) -> float:
    """Update flow and dual field in place; return the sum of the flow's squared changes.

    `limit` is lambda * theta, `step` is tau / theta. The order of the sum depends on the image's size alone.
    """
    line = pitch(width)
    stride = FIELDS * line
    first = stride + MARGIN
    change = 0.0
    for y in range(height):
        row = first + y * stride
        change += float(_primal(state, row, width, line, limit, theta, tail))
        if y > 0:
            _dual(state, row - stride, row, width, line, step)
    last = first + (height - 1) * stride
    _dual(state, last, last, width, line, step)
    return change


@jit
def _primal(
    state: Numbers, row: int, width: int, line: int, limit: np.float32, theta: np.float32, tail: Numbers
) -> np.float32:
    """Update a row: thresholding step and u = v + theta div p (Zach et al. 2007, propositions 1 and 2)."""
    high, low, weight, zero = splat(limit), splat(-limit), splat(theta), splat(np.float32(0))
    total = zero
    last = blocks(width) - 1
    for block in range(last + 1):
        at = row + block * LANES
        ix, iy = load(state, at + IX * line), load(state, at + IY * line)
        u, v = load(state, at + U * line), load(state, at + (U + 1) * line)
        residual = load(state, at + RHO * line) + (ix * u + iy * v)
        # -residual / gradient^2 between the thresholds, and clipped beyond them: the three cases in one.
        d = minimum(maximum(zero - residual * load(state, at + INVERSE * line), low), high)
        new_u = (u + d * ix) + weight * _divergence(state, at + P * line, line)
        new_v = (v + d * iy) + weight * _divergence(state, at + (P + 2) * line, line)
        store(state, at + U * line, new_u)
        store(state, at + (U + 1) * line, new_v)
        du, dv = new_u - u, new_v - v
        squares = du * du + dv * dv
        if block == last:
            squares = squares * load(tail, 0)
        total = total + squares
    for k in (U, U + 1):  # so that the difference to the right of the last pixel is 0
        end = row + k * line + width
        state[end] = state[end - 1]
    # Lanes are added in pairs, in the same order on every machine.
    return ((lane(total, 0) + lane(total, 4)) + (lane(total, 2) + lane(total, 6))) + (
        (lane(total, 1) + lane(total, 5)) + (lane(total, 3) + lane(total, 7))
    )


@inline
def _divergence(state: Numbers, at: int, line: int) -> np.float32:
    """Return the backward differences of a dual field; there are zeros left of each row and above the first."""
    right, down = load(state, at), load(state, at + line)
    return (right - load(state, at - 1)) + (down - load(state, at + line - FIELDS * line))


@jit
def _dual(state: Numbers, row: int, below: int, width: int, line: int, step: np.float32) -> None:
    """Update a row of the dual field for x and y: p = (p + step grad u) / (1 + step |grad u|)."""
    factor, one = splat(step), splat(np.float32(1))
    for block in range(blocks(width)):
        for k in range(2):
            at = row + block * LANES + (U + k) * line
            u = load(state, at)
            dx = load(state, at + 1) - u
            dy = load(state, below + block * LANES + (U + k) * line) - u
            scale = one / (one + factor * sqrt(dx * dx + dy * dy))
            right = row + block * LANES + (P + 2 * k) * line
            down = right + line
            store(state, right, (load(state, right) + factor * dx) * scale)
            store(state, down, (load(state, down) + factor * dy) * scale)
