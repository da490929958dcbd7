"""Memory layout of one pyramid level.

All fields of a row are adjacent, and the rows follow one another, so that a sweep walks through memory once and its
lines stay in the nearest cache: field k at (x, y) is `state[origin + y * stride + k * pitch + x]`. Around each line are
margins, so that vectors may extend past both ends, and above the first row is one of zeros.
"""

from __future__ import annotations

import numpy as np

from tasks.native.simd import LANES, Numbers, blocks, jit, load, splat, store

RHO, IX, IY, INVERSE, U, P = 0, 1, 2, 3, 4, 6
"""Fields: constant of the residual, warped gradient, 1 / its square, flow (x, y), dual of x (right, down) and of y."""
FIELDS = 10
MARGIN = 16
"""Numbers before and after a line: warping reads 5 pixels outside the image, with up to 7 lanes of other pixels."""


@jit
def pitch(width: int) -> int:
    """Return the distance from one line to the next."""
    return blocks(width) * LANES + 2 * MARGIN


@jit
def lines(count: int, width: int) -> Numbers:
    """Return `count` lines of zeros; a line's first pixel is MARGIN after its start."""
    return np.zeros(count * pitch(width), np.float32)


@jit
def tail(width: int) -> Numbers:
    """Return 1 for the lanes of a line's last vector that are pixels, and 0 for those after it."""
    ones = np.zeros(LANES, np.float32)
    for x in range(width - (blocks(width) - 1) * LANES):
        ones[x] = 1
    return ones


@jit
def clear(numbers: Numbers, count: int) -> None:
    """Set the first `count` numbers, a multiple of a vector, to 0."""
    zero = splat(np.float32(0))
    for at in range(0, count, LANES):
        store(numbers, at, zero)


@jit
def field_start(field: int, width: int) -> int:
    """Return the index of a field's first pixel in the state of a level."""
    return (FIELDS + field) * pitch(width) + MARGIN


@jit
def copy_line(source: Numbers, start: int, target: Numbers, at: int, width: int) -> None:
    """Copy a line as whole vectors, with the lanes after its last pixel."""
    for block in range(blocks(width)):
        store(target, at + block * LANES, load(source, start + block * LANES))
