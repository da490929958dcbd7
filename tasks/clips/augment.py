"""Crops, flips and colours of clips: those of TSN (docs/papers/tsn-protocol.md, sections 2 and 6).

A box is chosen once per clip, for all its frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from tasks.clips.settings import ClipSettings

CENTRE_FRACTION = 0.875
"""Side of the squares of 1 and 10 crops, as a fraction of the frame's shorter side: 224 of 256."""
AREA_DRAWS = 10
"""Draws of a box's area and aspect before the fall-back."""
_PLACES = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))
"""Positions in quarters of the free width and height: the corners, the centre, and eight between."""


class Box(NamedTuple):
    """A rectangle within a frame, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Tone(NamedTuple):
    """A change of colour, `gain * v + shift` of values in [0, 1]."""

    gain: np.ndarray
    """One per colour, float32 [3]."""
    shift: np.ndarray
    """One per colour, float32 [3]."""


class RawClip(NamedTuple):
    """A clip as it travels: a byte a value, normalised on the device where the network is."""

    values: np.ndarray
    """uint8 [C, T, H, W]."""
    norm: np.ndarray
    """float32 [2, C]: a network sees `norm[0] * values + norm[1]` of each channel."""

    def normalised(self) -> np.ndarray:
        """Return the clip as a network sees it, float32 [C, T, H, W]."""
        scale, offset = self.norm[:, :, None, None, None]
        clip: np.ndarray = self.values * scale
        clip += offset
        return clip


SAME = Tone(np.ones(3, np.float32), np.zeros(3, np.float32))


@dataclass(frozen=True)
class View:
    """One clip of a test protocol."""

    index: int = 0
    """Number of the view within the protocol."""
    clip: int = 0
    clips: int = 1
    crop: int = 0
    crops: int = 1
    seed: int | None = None
    """Seed to draw the clip as in training, the same for all crops; None spreads a video's clips evenly."""


def views(clips: int, crops: int, seed: int | None = None) -> list[View]:
    """Return the clips x crops views of a protocol; crops is 1, 3 or 10. A single clip is never drawn."""
    drawn = seed if clips > 1 else None
    pairs = [(clip, crop) for clip in range(clips) for crop in range(crops)]
    return [View(i, clip, clips, crop, crops, drawn) for i, (clip, crop) in enumerate(pairs)]


def places(width: int, height: int, box_width: int, box_height: int) -> list[Box]:
    """Return the 13 fixed places of a box; the first five are the corners and the centre."""
    return [_place(at, width, height, box_width, box_height) for at in _PLACES]


def _place(at: tuple[int, int], width: int, height: int, box_width: int, box_height: int) -> Box:
    return Box(at[0] * ((width - box_width) // 4), at[1] * ((height - box_height) // 4), box_width, box_height)


def crop_sizes(width: int, height: int, clip: ClipSettings) -> list[tuple[int, int]]:
    """Return the (width, height) pairs of the multi-scale crop: 10 for four scales, 7 for three.

    A side within 2 pixels of the clip's size becomes that size (where the frame has room), which saves a resize.
    """
    shorter = min(width, height)
    sides = [int(shorter * scale) for scale in clip.scales]
    sides = [clip.size if abs(side - clip.size) <= 2 and clip.size <= shorter else side for side in sides]
    return [
        (sides[i], sides[j]) for i in range(len(sides)) for j in range(len(sides)) if abs(i - j) <= clip.max_distort
    ]


def train_crop(width: int, height: int, clip: ClipSettings, rng: np.random.Generator) -> tuple[Box, bool]:
    """Return a random box and whether to flip."""
    if clip.crop == "area":
        return area_crop(width, height, clip, rng), bool(rng.random() < clip.flip)
    sizes = crop_sizes(width, height, clip)
    box_width, box_height = sizes[rng.integers(len(sizes))]
    if clip.crop == "anywhere":
        box = anywhere(width, height, box_width, box_height, rng)
    else:
        box = _place(_PLACES[rng.integers(len(_PLACES))], width, height, box_width, box_height)
    return box, bool(rng.random() < clip.flip)


def area_crop(width: int, height: int, clip: ClipSettings, rng: np.random.Generator) -> Box:
    """Return a box of random area and aspect at a random place (docs/papers/augmentation.md, section 1).

    Where none of ten draws fits the frame, it is the largest centred one within the limits of the aspect.
    """
    low, high = np.log(clip.aspect)
    for area, aspect in zip(
        rng.uniform(*clip.area, AREA_DRAWS), np.exp(rng.uniform(low, high, AREA_DRAWS)), strict=True
    ):
        box_width, box_height = (round(float(np.sqrt(width * height * area * r))) for r in (aspect, 1 / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            return anywhere(width, height, box_width, box_height, rng)
    box_width = min(width, max(1, round(height * clip.aspect[1])))
    box_height = min(height, max(1, round(width / clip.aspect[0])))
    return Box((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)


def anywhere(width: int, height: int, box_width: int, box_height: int, rng: np.random.Generator) -> Box:
    """Return a box of this size at a random place, all of them equally likely."""
    x, y = rng.integers(0, (width - box_width + 1, height - box_height + 1))
    return Box(int(x), int(y), box_width, box_height)


def train_tone(clip: ClipSettings, rng: np.random.Generator) -> Tone:
    """Return a random change of brightness, contrast and tint, of a strength s that is `clip.color`.

    Contrast, about the middle grey, and brightness are factors from [1 - s, 1 + s] for all colours together, the tint
    one from [1 - s/2, 1 + s/2] for each. Flow has no colour and stays as it is.
    """
    if clip.color == 0 or clip.stream == "flow":
        return SAME
    contrast, brightness = 1 + clip.color * rng.uniform(-1, 1, 2)
    gain = contrast * brightness * (1 + clip.color / 2 * rng.uniform(-1, 1, 3))
    shift = np.full(3, 0.5 * (1 - contrast))
    return Tone(gain.astype(np.float32), shift.astype(np.float32))


def view_crop(width: int, height: int, view: View) -> tuple[Box, bool]:
    """Return a view's box and whether to flip.

    1 crop: the centre. 3 crops: squares of the whole shorter side along the longer one. 10 crops: the corners and the
    centre, then the same flipped.
    """
    shorter = min(width, height)
    if view.crops == 3:
        dx, dy = [(0, free // 2, free)[view.crop] for free in (width - shorter, height - shorter)]
        return Box(dx, dy, shorter, shorter), False
    side = round(shorter * CENTRE_FRACTION)
    if view.crops == 1:
        return Box((width - side) // 2, (height - side) // 2, side, side), False
    return places(width, height, side, side)[view.crop % 5], view.crop >= 5


def clip_shape(clip: ClipSettings) -> tuple[int, int, int, int]:
    """Return (C, T, H, W)."""
    if clip.stream == "flow":
        return 2 * clip.snippet, clip.segments, clip.size, clip.size
    return 3, clip.segments * clip.snippet, clip.size, clip.size


def flow_shape(clip: ClipSettings) -> tuple[int, int, int, int]:
    """Return (2, K, H, W) of the flow that comes along with a training clip of K pairs."""
    return 2, clip.segments, clip.size, clip.size


def cut(items: Iterable[Any], box: Box, flip: bool, size: int) -> np.ndarray:
    """Crop, resize (bilinear) and flip frames, uint8 [H, W, 3] each: return uint8 [n, size, size, 3]."""
    return np.stack([_cut(item, box, flip, size) for item in items])


def _cut(image: np.ndarray, box: Box, flip: bool, size: int) -> np.ndarray:
    """Crop, resize and flip a picture, uint8 [H, W, 3], or a plane, [H, W]."""
    image = image[box.y : box.y + box.height, box.x : box.x + box.width]
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    return cv2.flip(image, 1).astype(np.uint8, copy=False) if flip else image


def make_raw_clip(
    items: Iterable[Any],
    box: Box,
    flip: bool,
    clip: ClipSettings,
    tone: Tone = SAME,
    out: np.ndarray | None = None,
) -> RawClip:
    """Crop, resize (bilinear) and flip; colours and normalisation stay numbers beside the clip.

    Args:
        items: K*L frames, uint8 [H, W, 3], or quantised flow, uint8 [2, H, W] or two of [H, W].
        box: where to crop, the same for all items.
        flip: mirror left and right; x-flow v becomes 255 - v.
        clip: size, mean and deviation.
        tone: change of colour of rgb, the same for all frames; it is part of the normalisation and costs nothing.
        out: where to write the values, such as their place in a batch.
    """
    values = np.empty(clip_shape(clip), np.uint8) if out is None else out
    for number, item in enumerate(items):
        if clip.stream == "rgb":
            cv2.split(_cut(item, box, flip, clip.size), list(values[:, number]))
        else:
            segment, pair = divmod(number, clip.snippet)
            for plane, place in zip(item, values[2 * pair : 2 * pair + 2, segment], strict=True):
                place[:] = _cut(plane, box, flip, clip.size)
    if clip.stream == "flow":
        return RawClip(values, _flow_norm(clip.mean, clip.std, clip.snippet, flip))
    plain = _norm(clip.mean, clip.std, 3)
    return RawClip(values, plain if tone is SAME else _toned(plain, tone))


@lru_cache
def _norm(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> np.ndarray:
    """Return scale and offset of some channels, float32 [2, C]; not to be changed."""
    middle, deviation = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    both = np.empty((2, channels), np.float32)
    both[0], both[1] = 1 / (255 * deviation), 0 - middle / deviation
    both.setflags(write=False)
    return both


def _toned(norm: np.ndarray, tone: Tone) -> np.ndarray:
    scale, offset = norm
    return np.stack([scale * tone.gain, offset + scale * 255 * tone.shift])


@lru_cache
def _flow_norm(mean: tuple[float, ...], std: tuple[float, ...], snippet: int, flip: bool) -> np.ndarray:
    """Return scale and offset of the channels x1, y1, x2, y2, ...; not to be changed."""
    both = _norm(mean, std, 2).copy()
    if flip:  # 255 - v of x
        both[1, 0] += 255 * both[0, 0]
        both[0, 0] *= -1
    tiled = np.tile(both, snippet)
    tiled.setflags(write=False)
    return tiled


def make_clip(items: np.ndarray, box: Box, flip: bool, clip: ClipSettings, tone: Tone = SAME) -> np.ndarray:
    """Return the clip of `make_raw_clip` as a network sees it.

    Returns:
        float32, rgb [3, K*L, size, size]; flow [2L, K, size, size] with channels x1, y1, x2, y2, ...
    """
    return make_raw_clip(items, box, flip, clip, tone).normalised()
