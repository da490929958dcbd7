"""Where the numbers of one pyramid level lie.

All fields of a row lie side by side and the rows one below the other, so that a sweep walks through memory once and the
lines it works on stay in the nearest cache: field k at (x, y) is `state[origin + y * stride + k * pitch + x]`.
Around each line are margins, so that vectors may look past both ends, and above the first row lies one of zeros.
"""

from __future__ import annotations

import numpy as np

from tasks.native.simd import LANES, Numbers, blocks, jit, load, splat, store

RHO, IX, IY, INVERSE, U, P = 0, 1, 2, 3, 4, 6
"""Constant part of the residual, warped gradient, 1 / its square, flow (x, y), dual of x (right, down) and of y."""
FIELDS = 10
MARGIN = 16
"""Numbers before and after a line: warping looks 5 pixels outside the image, with up to 7 lanes of other pixels."""


@jit
def pitch(width: int) -> int:
    """Numbers from one line to the next."""
    return blocks(width) * LANES + 2 * MARGIN


@jit
def lines(count: int, width: int) -> Numbers:
    """So many lines of zeros; a line's first pixel is MARGIN after its start."""
    return np.zeros(count * pitch(width), np.float32)


@jit
def tail(width: int) -> Numbers:
    """1 for the lanes of a line's last vector that are pixels, 0 for those after it."""
    ones = np.zeros(LANES, np.float32)
    for x in range(width - (blocks(width) - 1) * LANES):
        ones[x] = 1
    return ones


@jit
def clear(numbers: Numbers, count: int) -> None:
    """Zeros for the first `count` numbers, a multiple of a vector."""
    zero = splat(np.float32(0))
    for at in range(0, count, LANES):
        store(numbers, at, zero)


@jit
def field_start(field: int, width: int) -> int:
    """Where the first pixel of a field is in a level's state."""
    return (FIELDS + field) * pitch(width) + MARGIN


@jit
def copy_line(source: Numbers, start: int, target: Numbers, at: int, width: int) -> None:
    """Whole vectors, so the lanes after the last pixel come along."""
    for block in range(blocks(width)):
        store(target, at + block * LANES, load(source, start + block * LANES))
