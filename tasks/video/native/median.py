"""Median filters of the flow: sorting networks over whole vectors, whose results serve all windows that need them.

A column of the window is sorted once, two neighbouring columns are merged once, and a window is two such pairs and a
single column. The compiler removes those outputs of a network that nobody reads.
"""

from __future__ import annotations

from typing import Any

from tasks.native.simd import LANES, Numbers, blocks, inline, jit, load, maximum, minimum, store
from tasks.video.native.field import MARGIN, copy_line, lines, pitch


@jit
def filter_median(
    state: Numbers, first: int, stride: int, height: int, width: int, window: int, source: Numbers
) -> None:
    """Filter over window x window pixels (3 or 5) in place, with the image's edge repeated.

    Row y of the image starts at `state[first + y * stride]`; `source` has room for `height` lines.
    """
    line = pitch(width)
    for y in range(height):
        copy_line(state, first + y * stride, source, MARGIN + y * line, width)
    columns, pairs = lines(5, width), lines(10, width)
    for y in range(height):
        if window == 3:
            _sort_columns_of_3(source, y, height, width, columns)
            _repeat_edges(columns, 3, width)
            _middle_of_3(columns, state, first + y * stride, width)
        else:
            _sort_columns_of_5(source, y, height, width, columns)
            _repeat_edges(columns, 5, width)
            _merge_pairs(columns, width, pairs)
            _middle_of_5(columns, pairs, state, first + y * stride, width)


@jit
def _repeat_edges(columns: Numbers, count: int, width: int) -> None:
    """Repeat the edge: two columns to the left and three to the right, as a pair is one wider than a window."""
    line = pitch(width)
    for k in range(count):
        start = k * line + MARGIN
        end = start + width
        for x in range(2):
            columns[start - 1 - x] = columns[start]
        for x in range(3):
            columns[end + x] = columns[end - 1]


@inline
def _sort2(a: Any, b: Any) -> Any:
    return minimum(a, b), maximum(a, b)


@inline
def _sort3(a: Any, b: Any, c: Any) -> Any:
    a, b = _sort2(a, b)
    b, c = _sort2(b, c)
    a, b = _sort2(a, b)
    return a, b, c


@inline
def _sort5(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    a, d = _sort2(a, d)
    b, e = _sort2(b, e)
    a, c = _sort2(a, c)
    b, d = _sort2(b, d)
    a, b = _sort2(a, b)
    c, e = _sort2(c, e)
    b, c = _sort2(b, c)
    d, e = _sort2(d, e)
    c, d = _sort2(c, d)
    return a, b, c, d, e


@inline
def _row(y: int, height: int, line: int) -> int:
    return MARGIN + min(max(y, 0), height - 1) * line


@jit
def _sort_columns_of_3(source: Numbers, y: int, height: int, width: int, columns: Numbers) -> None:
    line = pitch(width)
    above, here, below = _row(y - 1, height, line), _row(y, height, line), _row(y + 1, height, line)
    for block in range(blocks(width)):
        x = block * LANES
        a, b, c = _sort3(load(source, above + x), load(source, here + x), load(source, below + x))
        at = MARGIN + x
        store(columns, at, a)
        store(columns, at + line, b)
        store(columns, at + 2 * line, c)


@jit
def _middle_of_3(columns: Numbers, target: Numbers, start: int, width: int) -> None:
    """Take the median of 3 x 3: that of the largest low, the median middle and the smallest high of its columns."""
    line = pitch(width)
    for block in range(blocks(width)):
        at = MARGIN + block * LANES
        low = maximum(maximum(load(columns, at - 1), load(columns, at)), load(columns, at + 1))
        at += line
        _, middle, _ = _sort3(load(columns, at - 1), load(columns, at), load(columns, at + 1))
        at += line
        high = minimum(minimum(load(columns, at - 1), load(columns, at)), load(columns, at + 1))
        _, result, _ = _sort3(low, middle, high)
        store(target, start + block * LANES, result)


@jit
def _sort_columns_of_5(source: Numbers, y: int, height: int, width: int, columns: Numbers) -> None:
    line = pitch(width)
    r0, r1, r2 = _row(y - 2, height, line), _row(y - 1, height, line), _row(y, height, line)
    r3, r4 = _row(y + 1, height, line), _row(y + 2, height, line)
    for block in range(blocks(width)):
        x = block * LANES
        a, b, c, d, e = _sort5(
            load(source, r0 + x), load(source, r1 + x), load(source, r2 + x), load(source, r3 + x), load(source, r4 + x)
        )
        at = MARGIN + x
        store(columns, at, a)
        store(columns, at + line, b)
        store(columns, at + 2 * line, c)
        store(columns, at + 3 * line, d)
        store(columns, at + 4 * line, e)


@jit
def _merge_pairs(columns: Numbers, width: int, pairs: Numbers) -> None:
    """Merge the sorted columns x and x + 1 into pairs[:, x] (Batcher's odd-even merge), from x = -2."""
    line = pitch(width)
    for block in range(blocks(width + 2)):
        at = MARGIN - 2 + block * LANES
        a0, b0 = load(columns, at), load(columns, at + 1)
        a1, b1 = load(columns, at + line), load(columns, at + line + 1)
        a2, b2 = load(columns, at + 2 * line), load(columns, at + 2 * line + 1)
        a3, b3 = load(columns, at + 3 * line), load(columns, at + 3 * line + 1)
        a4, b4 = load(columns, at + 4 * line), load(columns, at + 4 * line + 1)
        # First those at even places (3 and 3, again by even and odd), then those at odd places.
        p, q = _sort2(a0, b0)
        r, s = _sort2(a4, b4)
        r, q = _sort2(r, q)
        t, w = _sort2(a2, b2)
        e0 = p
        e1, e2 = _sort2(r, t)
        e3, e4 = _sort2(q, w)
        e5 = s
        p, q = _sort2(a1, b1)
        r, s = _sort2(a3, b3)
        o0, o3 = p, s
        o1, o2 = _sort2(q, r)
        store(pairs, at, e0)
        low, high = _sort2(o0, e1)
        store(pairs, at + line, low)
        store(pairs, at + 2 * line, high)
        low, high = _sort2(o1, e2)
        store(pairs, at + 3 * line, low)
        store(pairs, at + 4 * line, high)
        low, high = _sort2(o2, e3)
        store(pairs, at + 5 * line, low)
        store(pairs, at + 6 * line, high)
        low, high = _sort2(o3, e4)
        store(pairs, at + 7 * line, low)
        store(pairs, at + 8 * line, high)
        store(pairs, at + 9 * line, e5)


@jit
def _middle_of_5(columns: Numbers, pairs: Numbers, target: Numbers, start: int, width: int) -> None:
    """Take the 13th of 25: the 6th of the 8th to 13th of two pairs' 20 and the five of the last column."""
    line = pitch(width)
    for block in range(blocks(width)):
        at = MARGIN + block * LANES
        a, b = at - 2, at + 9 * line
        # Bitonic split: `low` holds the ten lowest of the two pairs, `high` the ten highest, each rising then falling.
        l0, h0 = _sort2(load(pairs, a), load(pairs, b))
        l1, h1 = _sort2(load(pairs, a + line), load(pairs, b - line))
        l2, h2 = _sort2(load(pairs, a + 2 * line), load(pairs, b - 2 * line))
        l3, h3 = _sort2(load(pairs, a + 3 * line), load(pairs, b - 3 * line))
        l4, h4 = _sort2(load(pairs, a + 4 * line), load(pairs, b - 4 * line))
        l5, h5 = _sort2(load(pairs, a + 5 * line), load(pairs, b - 5 * line))
        l6, h6 = _sort2(load(pairs, a + 6 * line), load(pairs, b - 6 * line))
        l7, h7 = _sort2(load(pairs, a + 7 * line), load(pairs, b - 7 * line))
        l8, h8 = _sort2(load(pairs, a + 8 * line), load(pairs, b - 8 * line))
        l9, h9 = _sort2(load(pairs, a + 9 * line), load(pairs, b - 9 * line))
        _, _, q8, q9, q10 = _sort5(maximum(l0, l5), maximum(l1, l6), maximum(l2, l7), maximum(l3, l8), maximum(l4, l9))
        q11, q12, q13, _, _ = _sort5(
            minimum(h0, h5), minimum(h1, h6), minimum(h2, h7), minimum(h3, h8), minimum(h4, h9)
        )
        x = at + 2
        result = minimum(q13, maximum(q12, load(columns, x)))
        result = minimum(result, maximum(q11, load(columns, x + line)))
        result = minimum(result, maximum(q10, load(columns, x + 2 * line)))
        result = minimum(result, maximum(q9, load(columns, x + 3 * line)))
        result = minimum(result, maximum(q8, load(columns, x + 4 * line)))
        store(target, start + block * LANES, result)
