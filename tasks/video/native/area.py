"""Resizing by area average: each pixel is the mean of the area it covers, with fractions of the pixels at its edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.native.simd import LANES, Numbers, blocks, jit, load, load_bytes, rotate, splat, store, store_bytes

Bytes = NDArray[np.uint8]
Whole = NDArray[np.int64]

_CHANNELS = 3
_PIXELS = 2
"""Pixels per vector, with two lanes to spare."""


@jit
def shrink(image: Bytes, height: int, width: int, target: Bytes, new_height: int, new_width: int) -> None:
    """Resize flat uint8 RGB [height*width*3] into `target`; halves are rounded up, and both are at least 3 pixels wide.

    Rows come first: there a whole line is one run of vectors. Then there are fewer lines left for the columns.
    """
    rows, row_fractions, row_taps = _fractions(height, new_height)
    columns, column_fractions, column_taps = _fractions(width, new_width)
    vectors = (column_taps + _PIXELS - 1) // _PIXELS
    weights = _weights(column_fractions, column_taps, vectors, new_width)
    # After the last pixel are zeros for the vectors that extend past it.
    mean = np.zeros(_CHANNELS * (width + _PIXELS * vectors) + LANES, np.float32)
    line = np.zeros(_CHANNELS * new_width + LANES, np.float32)
    for y in range(new_height):
        taps = min(row_taps, height - rows[y])
        _mean_of_rows(image, rows[y] * _CHANNELS * width, _CHANNELS * width, row_fractions, y * row_taps, taps, mean)
        for x in range(new_width):
            pixel, weight = _CHANNELS * columns[x], x * vectors * LANES
            total = load(mean, pixel) * load(weights, weight)
            for k in range(1, vectors):
                total = total + load(mean, pixel + k * _CHANNELS * _PIXELS) * load(weights, weight + k * LANES)
            store(line, _CHANNELS * x, total + rotate(total, _CHANNELS))  # the next pixel overwrites what lies after it
        _round(line, _CHANNELS * new_width, target, y * _CHANNELS * new_width)


@jit
def _mean_of_rows(image: Bytes, at: int, length: int, fractions: Numbers, first: int, taps: int, mean: Numbers) -> None:
    """Write the weighted mean of `taps` rows of an image, from `at` on."""
    for block in range(blocks(length)):
        start = min(block * LANES, length - LANES)  # the last vector ends with the line
        total = splat(fractions[first]) * load_bytes(image, at + start)
        for k in range(1, taps):
            total = total + splat(fractions[first + k]) * load_bytes(image, at + k * length + start)
        store(mean, start, total)


@jit
def _round(line: Numbers, length: int, target: Bytes, at: int) -> None:
    half = splat(np.float32(0.5))
    for block in range(blocks(length)):
        start = min(block * LANES, length - LANES)
        store_bytes(target, at + start, load(line, start) + half)


@jit
def _fractions(old: int, new: int) -> tuple[Whole, Numbers, int]:
    """Return for each new pixel its first old one and the weights of the old ones, and how many these are at most."""
    scale = old / new
    taps = int(np.ceil(scale)) + 1
    first = np.empty(new, np.int64)
    fractions = np.zeros(new * taps, np.float32)
    for i in range(new):
        begin, end = i * scale, min((i + 1) * scale, float(old))
        first[i] = min(int(begin), old - 1)
        for k in range(taps):
            pixel = first[i] + k
            fractions[i * taps + k] = max(min(pixel + 1.0, end) - max(float(pixel), begin), 0.0) / (end - begin)
    return first, fractions, taps


@jit
def _weights(fractions: Numbers, taps: int, vectors: int, count: int) -> Numbers:
    """Return the fractions as vectors: each once per channel, for two pixels, and 0 in the spare lanes."""
    weights = np.zeros(count * vectors * LANES, np.float32)
    for i in range(count):
        for k in range(taps):
            for c in range(_CHANNELS):
                weights[(i * vectors + k // _PIXELS) * LANES + k % _PIXELS * _CHANNELS + c] = fractions[i * taps + k]
    return weights
