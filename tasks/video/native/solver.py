"""Dual TV-L1 flow of a stack of frames: pyramid, warps, inner and outer iterations, as in OpenCV's DualTVL1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.native.simd import LANES, Numbers, blocks, jit, load, splat, store
from tasks.video.native.field import (
    FIELDS,
    MARGIN,
    U,
    clear,
    copy_line,
    field_start,
    lines,
    pitch,
    tail,
)
from tasks.video.native.median import filter_median
from tasks.video.native.pyramid import resize
from tasks.video.native.sweep import iterate
from tasks.video.native.warp import gradient_planes, plane_lines, warp

SMALLEST = 16
"""Smallest side of a pyramid level, in pixels."""


@jit
def flow_of_stack(
    gray: NDArray[np.uint8],
    tau: float,
    lambda_: float,
    theta: float,
    scales: int,
    warps: int,
    epsilon: float,
    inner: int,
    outer: int,
    scale_step: float,
    window: int,
    flow: NDArray[np.float32],
) -> None:
    """Fill `flow`, float32 [T-1,2,H,W], from `gray`, uint8 [T,H,W]; the other arguments are TVL1's."""
    height, width = gray.shape[1:]
    sizes = _sizes(height, width, scales, scale_step)
    # Large arrays are allocated once: fresh memory costs a page fault per 4 KiB, more than the arithmetic on it.
    first, second = _levels(sizes), _levels(sizes)
    state = lines((height + 1) * FIELDS, width)
    planes = lines(plane_lines(height), width)
    scratch = lines(2 * height, width)
    _fill(gray[0], sizes, scale_step, second)
    for pair in range(len(flow)):
        first, second = second, first
        _fill(gray[pair + 1], sizes, scale_step, second)
        for level in range(len(sizes) - 1, -1, -1):
            rows, columns = sizes[level]
            if level == len(sizes) - 1:
                clear(state, (rows + 1) * FIELDS * pitch(columns))
            else:
                _to_finer(state, sizes[level + 1], sizes[level], scale_step, scratch)
            _solve_level(
                first[level], second[level], rows, columns, tau, lambda_, theta, warps, epsilon, inner, outer, window,
                state, planes, scratch,
            )  # fmt: skip
        for y in range(height):
            for k in range(2):
                start = field_start(U + k, width) + y * FIELDS * pitch(width)
                for x in range(width):
                    flow[pair, k, y, x] = state[start + x]


@jit
def _sizes(height: int, width: int, scales: int, step: float) -> list[tuple[int, int]]:
    """Return height and width of each level, the finest first."""
    sizes = [(height, width)]
    for _ in range(1, scales):
        rows, columns = sizes[-1]
        smaller = (int(np.rint(rows * step)), int(np.rint(columns * step)))
        if min(smaller) < SMALLEST:
            break
        sizes.append(smaller)
    return sizes


@jit
def _levels(sizes: list[tuple[int, int]]) -> list[Numbers]:
    return [lines(height, width) for height, width in sizes]


@jit
def _fill(image: NDArray[np.uint8], sizes: list[tuple[int, int]], step: float, levels: list[Numbers]) -> None:
    """Write the pyramid of an image."""
    height, width = sizes[0]
    base = levels[0]
    for y in range(height):
        start = MARGIN + y * pitch(width)
        for x in range(width):
            base[start + x] = image[y, x]
    for level in range(1, len(sizes)):
        source, target = sizes[level - 1], sizes[level]
        resize(
            levels[level - 1], MARGIN, pitch(source[1]), source,
            levels[level], MARGIN, pitch(target[1]), target, (1 / step, 1 / step),
        )  # fmt: skip


@jit
def _to_finer(state: Numbers, size: tuple[int, int], to: tuple[int, int], step: float, coarse: Numbers) -> None:
    """Begin a level with the flow of the coarser one, resized and rescaled, and all other fields 0."""
    height, width = size
    line, stride, area = pitch(width), FIELDS * pitch(width), height * pitch(width)
    for k in range(2):
        for y in range(height):
            copy_line(state, field_start(U + k, width) + y * stride, coarse, MARGIN + k * area + y * line, width)
    clear(state, (to[0] + 1) * FIELDS * pitch(to[1]))
    ratio = (size[0] / to[0], size[1] / to[1])
    pixels = splat(np.float32(1 / step))
    for k in range(2):
        start, stride = field_start(U + k, to[1]), FIELDS * pitch(to[1])
        resize(coarse, MARGIN + k * area, line, size, state, start, stride, to, ratio)
        for y in range(to[0]):
            for block in range(blocks(to[1])):
                at = start + y * stride + block * LANES
                store(state, at, load(state, at) * pixels)


@jit
def _solve_level(
    first: Numbers,
    second: Numbers,
    height: int,
    width: int,
    tau: float,
    lambda_: float,
    theta: float,
    warps: int,
    epsilon: float,
    inner: int,
    outer: int,
    window: int,
    state: Numbers,
    planes: Numbers,
    scratch: Numbers,
) -> None:
    """Iterate at one size, in each warp until the flow's mean squared change is at most epsilon^2."""
    ones = tail(width)
    gradient_planes(second, height, width, ones, planes)
    enough = epsilon * epsilon * height * width
    limit, coupling, step = np.float32(lambda_ * theta), np.float32(theta), np.float32(tau / theta)
    for _ in range(warps):
        warp(state, first, planes, height, width, ones)
        change = np.inf
        for _ in range(outer):
            if change <= enough:
                break
            if window > 1:
                for k in range(2):
                    start = field_start(U + k, width)
                    filter_median(state, start, FIELDS * pitch(width), height, width, window, scratch)
            for _ in range(inner):
                if change <= enough:
                    break
                change = iterate(state, height, width, limit, coupling, step, ones)
