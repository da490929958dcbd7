"""Choice of the frames or flow pairs of a clip: the index rules of TSN (docs/papers/tsn-protocol.md, section 1).

Training follows equation (1) there, tests equation (2). An item is a frame or a flow pair. A clip has K starts and L
items from each, consecutive or at a step; an index beyond the last item becomes the last item.
"""

from __future__ import annotations

import numpy as np

from tasks.clips.settings import ClipSettings


def train_indices(num_items: int, clip: ClipSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the items of a training clip, int64 [K*L] in time order.

    Segments: one random start in each of K equal segments; a video with fewer starts than segments repeats some.
    Dense: K items at the stride, from a random start. If the video is too short, they start at its first item, and
    the last one repeats, or (`short=loop`) the video starts again.
    """
    starts = _num_starts(num_items, clip)
    if clip.sampling == "dense":
        first = int(rng.integers(0, starts - _span(starts, clip)))
        return _dense(first, starts, num_items, clip)
    length = starts // clip.segments
    if length == 0:
        return _items(np.sort(rng.integers(0, starts, clip.segments)), num_items, clip)
    return _items(length * np.arange(clip.segments) + rng.integers(0, length, clip.segments), num_items, clip)


def view_indices(num_items: int, clip: ClipSettings, view: int = 0, views: int = 1) -> np.ndarray:
    """Return the items of clip `view` of `views`, int64 [K*L] in time order.

    Segments: each is read at (view + 0.5)/views of its length, so that a single view takes the centres.
    Dense: starts are evenly spread from the first item to the last that fits; a single view takes the middle.
    """
    starts = _num_starts(num_items, clip)
    if clip.sampling == "dense":
        room = starts - 1 - _span(starts, clip)
        first = room // 2 if views == 1 else room * view // (views - 1)
        return _dense(first, starts, num_items, clip)
    # floor(tick*k + tick*(view + 0.5)/views) with tick = starts/K, in whole numbers.
    k = np.arange(clip.segments)
    return _items(starts * (2 * views * k + 2 * view + 1) // (2 * views * clip.segments), num_items, clip)


def _num_starts(num_items: int, clip: ClipSettings) -> int:
    return max(1, num_items - (clip.snippet - 1) * clip.snippet_step)


def _span(starts: int, clip: ClipSettings) -> int:
    """Return the distance from a dense clip's first start to its last, as far as the video allows."""
    return min((clip.segments - 1) * clip.stride, starts - 1)


def _dense(first: int, num_starts: int, num_items: int, clip: ClipSettings) -> np.ndarray:
    starts = first + clip.stride * np.arange(clip.segments)
    return _items(starts % num_starts if clip.short == "loop" else starts, num_items, clip)


def _items(starts: np.ndarray, num_items: int, clip: ClipSettings) -> np.ndarray:
    items = starts[:, None] + clip.snippet_step * np.arange(clip.snippet)
    return np.minimum(items, num_items - 1).reshape(-1).astype(np.int64)
