"""Image pyramid: bilinear resizing as in OpenCV, with pixel centres aligned and edges repeated."""

from __future__ import annotations

import numpy as np

from tasks.native.simd import LANES, Numbers, blocks, jit, load, splat, store
from tasks.video.native.field import MARGIN, lines, pitch


@jit
def resize(
    source: Numbers,
    first: int,
    stride: int,
    size: tuple[int, int],
    target: Numbers,
    at: int,
    step: int,
    to: tuple[int, int],
    scale: tuple[float, float],
) -> None:
    """Resize: row y of the source starts at `source[first + y * stride]`, of the target at `target[at + y * step]`.

    Args:
        size, to: Height and width of source and target.
    """
    height, width = size
    line = pitch(to[1])
    left, right, fraction = _taps(width, to[1], scale[1])
    upper, lower, weight = _taps(height, to[0], scale[0])
    rows = lines(2, to[1])  # the last two rows of the source, at the width of the target
    held = np.array([-1, -1])
    for y in range(to[0]):
        for needed in (upper[y], lower[y]):
            slot = needed % 2
            if held[slot] != needed:
                held[slot] = needed
                begin, start = first + needed * stride, MARGIN + slot * line
                for x in range(to[1]):
                    a = source[begin + left[x]]
                    rows[start + x] = a + (source[begin + right[x]] - a) * fraction[x]
        top, bottom = MARGIN + (upper[y] % 2) * line, MARGIN + (lower[y] % 2) * line
        rest = splat(weight[y])
        for block in range(blocks(to[1])):
            x = block * LANES
            a = load(rows, top + x)
            store(target, at + y * step + x, a + (load(rows, bottom + x) - a) * rest)


@jit
def _taps(size: int, to: int, scale: float) -> tuple[np.ndarray, np.ndarray, Numbers]:
    """Return for each of `to` target pixels its two source pixels, of `size`, and the weight of the second."""
    low, high, fraction = np.empty(to, np.int64), np.empty(to, np.int64), np.empty(to, np.float32)
    for x in range(to):
        position = (x + 0.5) * scale - 0.5
        whole = int(np.floor(position))
        low[x], high[x] = min(max(whole, 0), size - 1), min(max(whole + 1, 0), size - 1)
        fraction[x] = position - whole
    return low, high, fraction
