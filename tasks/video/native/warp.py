"""Bicubic warping of the second image and its gradient by the flow, and the inputs of the inner iterations from them.

Pixels whose sources are adjacent are computed eight at once. For flow near 0 the integer part of a position alternates
between -1 and 0 from pixel to pixel; so positions are split at the nearest integer, and the cubic kernel is applied as
five taps of which one of the outer two is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.native.simd import (
    LANES,
    Numbers,
    blocks,
    both,
    equal,
    floor,
    inline,
    jit,
    lane,
    less,
    load,
    maximum,
    minimum,
    pack,
    select,
    splat,
    store,
)
from tasks.video.native.field import (
    FIELDS,
    INVERSE,
    IX,
    IY,
    MARGIN,
    RHO,
    U,
    clear,
    copy_line,
    lines,
    pitch,
)

REACH = 5
"""Lines of zeros above and below the image: positions are clamped to 3 outside, and taps reach 2 further."""
PLANES = 3
_FLAT = np.float32(1.1920929e-07)
"""Squared gradient below which the data term is ignored (FLT_EPSILON, as in OpenCV)."""


@jit
def plane_lines(height: int) -> int:
    """Return the number of lines that gradient_planes() writes."""
    return (height + 2 * REACH) * PLANES


@jit
def gradient_planes(image: Numbers, height: int, width: int, tail: Numbers, out: Numbers) -> None:
    """Lines of `image` with its central differences along x and y (edges repeated), zeros all around.

    Line k (image, x, y) of row y starts at `out[((y + REACH) * PLANES + k) * pitch(width)]`.
    """
    line = pitch(width)
    clear(out, plane_lines(height) * line)
    half, zero = splat(np.float32(0.5)), splat(np.float32(0))
    last = blocks(width) - 1
    for y in range(height):
        here = MARGIN + y * line
        above, below = MARGIN + max(y - 1, 0) * line, MARGIN + min(y + 1, height - 1) * line
        at = MARGIN + (y + REACH) * PLANES * line
        copy_line(image, here, out, at, width)
        out[at - 1], out[at + width] = out[at], out[at + width - 1]
        for block in range(last + 1):
            x = block * LANES
            dx = half * (load(out, at + x + 1) - load(out, at + x - 1))
            dy = half * (load(image, below + x) - load(image, above + x))
            if block == last:
                ones = less(zero, load(tail, 0))
                dx, dy = select(ones, dx, zero), select(ones, dy, zero)
            store(out, at + line + x, dx)
            store(out, at + 2 * line + x, dy)
        out[at - 1] = 0
        for x in range(MARGIN):
            out[at + width + x] = 0


@jit
def warp(state: Numbers, image: Numbers, second: Numbers, height: int, width: int, tail: Numbers) -> None:
    """Fill RHO, IX, IY and INVERSE of `state` for its flow, from the first image and the second's gradient_planes()."""
    line = pitch(width)
    columns = lines(1, width)
    for x in range(width):
        columns[x] = x
    for y in range(height):
        row = ((y + 1) * FIELDS) * line + MARGIN
        for block in range(blocks(width)):
            x = block * LANES
            at = row + x
            u, v = load(state, at + U * line), load(state, at + (U + 1) * line)
            value, ix, iy = _sample(second, u, v, load(columns, x), x, y, height, width, line)
            if x + LANES > width:
                ones, zero = less(splat(np.float32(0)), load(tail, 0)), splat(np.float32(0))
                ix, iy = select(ones, ix, zero), select(ones, iy, zero)
            rho = value - ix * u - iy * v - load(image, MARGIN + y * line + x)
            square = ix * ix + iy * iy
            steep = less(splat(_FLAT), square)
            store(state, at + RHO * line, rho)
            store(state, at + IX * line, ix)
            store(state, at + IY * line, iy)
            inverse = select(steep, splat(np.float32(1)) / square, splat(np.float32(0)))
            store(state, at + INVERSE * line, inverse)


@inline
def _sample(
    second: Numbers, u: Any, v: Any, columns: Any, x: int, y: int, height: int, width: int, line: int
) -> tuple[Any, Any, Any]:
    """Sample image and gradient at (columns + u, y + v), a pass per group of lanes with equal integer displacement."""
    half = splat(np.float32(0.5))
    at_x, at_y = columns + u, splat(np.float32(y)) + v
    near_x, near_y = floor(at_x + half), floor(at_y + half)
    wx = _cubic(at_x - near_x)
    wy = _cubic(at_y - near_y)
    # Everything beyond the image is 0, however far.
    outside = splat(np.float32(-3))
    near_x = minimum(maximum(near_x, outside), splat(np.float32(width + 2)))
    near_y = minimum(maximum(near_y, outside), splat(np.float32(height + 2)))
    shift = near_x - columns
    value, dx, dy = half, half, half
    left = (1 << LANES) - 1
    while left:
        k = 0
        while not (left >> k) & 1:
            k += 1
        row, column = int(lane(near_y, k)), x + int(lane(shift, k))
        group = both(equal(shift, splat(lane(shift, k))), equal(near_y, splat(lane(near_y, k))))
        start = (row - 2 + REACH) * PLANES * line + MARGIN + column - 2
        value = select(group, _taps(second, start, PLANES * line, wx, wy), value)
        dx = select(group, _taps(second, start + line, PLANES * line, wx, wy), dx)
        dy = select(group, _taps(second, start + 2 * line, PLANES * line, wx, wy), dy)
        left &= ~pack(group)
    return value, dx, dy


@inline
def _cubic(t: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return the weights (Keys' kernel, a = -0.75 as in OpenCV) of the taps -2 ... 2 for a rest t in [-0.5, 0.5]."""
    one, zero = splat(np.float32(1)), splat(np.float32(0))
    before = less(t, zero)
    f = select(before, t + one, t)
    g, e = one - f, f + one
    outer, inner = splat(np.float32(1.25)), splat(np.float32(2.25))
    first = ((splat(np.float32(-0.75)) * e + splat(np.float32(3.75))) * e - splat(np.float32(6))) * e + splat(
        np.float32(3)
    )
    second = ((outer * f - inner) * f) * f + one
    third = ((outer * g - inner) * g) * g + one
    fourth = one - first - second - third
    return (
        select(before, first, zero),
        select(before, second, first),
        select(before, third, second),
        select(before, fourth, third),
        select(before, zero, fourth),
    )


@inline
def _taps(plane: Numbers, start: int, stride: int, wx: Any, wy: Any) -> Any:
    return (
        (wy[0] * _row(plane, start, wx) + wy[1] * _row(plane, start + stride, wx))
        + (wy[2] * _row(plane, start + 2 * stride, wx) + wy[3] * _row(plane, start + 3 * stride, wx))
    ) + wy[4] * _row(plane, start + 4 * stride, wx)


@inline
def _row(plane: Numbers, at: int, w: Any) -> Any:
    return (
        (w[0] * load(plane, at) + w[1] * load(plane, at + 1))
        + (w[2] * load(plane, at + 2) + w[3] * load(plane, at + 3))
    ) + w[4] * load(plane, at + 4)
