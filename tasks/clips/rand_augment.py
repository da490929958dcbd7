"""RandAugment (docs/papers/augmentation.md, section 3).

E. D. Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", NeurIPS 2020, with
the eighteen operations and the ranges of imgaug, which Video Swin trains with. Operations are those of Pillow. What an
operation takes from a picture (its darkest and brightest value, its histogram, its mean) is taken from all frames of a
clip together here, so that a clip does not flicker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from tasks.clips.color_jitter import LUMA, apply
from tasks.clips.erase import fill
from tasks.clips.settings import RAND_MAGNITUDE

Change = Callable[[np.ndarray], np.ndarray]

GREY = 128
"""Value of what is turned or moved in from outside, and of what is cut out."""
ROTATION = 30.0
"""Degrees at full magnitude."""
SHEAR = 0.3
TRANSLATION = 0.33
"""Part of the side at full magnitude."""
ENHANCEMENT = 0.9
"""Distance from 1 of the factor of colour, contrast, brightness and sharpness at full magnitude."""
POSTERIZED_BITS, SOLARIZED_VALUES = 6, 256
"""Bits and values that posterising and solarising take at full magnitude."""
CUTOUT = 20 / 32
"""Side of the square that is cut out at full magnitude, as part of the clip's."""
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
BLUR = np.pad(np.zeros((3, 3), np.float32), 1, constant_values=1 / 16)
"""Pillow's kernels."""


def operations(number: int, magnitude: float, size: int, rng: np.random.Generator) -> list[Change]:
    """Return `number` different operations in random order, for clips of size x size pixels."""
    level = magnitude / RAND_MAGNITUDE
    return [_MAKERS[i](level, size, rng) for i in rng.permutation(len(_MAKERS))[:number]]


def autocontrast(frames: np.ndarray) -> np.ndarray:
    """Stretch each colour to 0 to 255."""
    low, high = frames.min((0, 1, 2)).astype(float), frames.max((0, 1, 2)).astype(float)
    scale = 255 / np.maximum(high - low, 1)
    table = np.arange(256)[:, None] * scale - low * scale
    return look_up(frames, np.where(high > low, table, np.arange(256)[:, None]))


def equalize(frames: np.ndarray) -> np.ndarray:
    """Spread each colour's values evenly."""
    tables = np.empty((256, 3))
    for color in range(3):
        counts = np.bincount(frames[..., color].ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        tables[:, color] = (step // 2 + np.cumsum(counts) - counts) // step if step else np.arange(256)
    return look_up(frames, tables)


def look_up(frames: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace each value by the table's, [256, 3] or [256, 1], cut off below its point and kept within 0 to 255."""
    whole = np.broadcast_to(table, (256, 3)).clip(0, 255).astype(np.uint8)[:, None]
    height, width = frames.shape[1:3]
    return np.asarray(cv2.LUT(frames.reshape(-1, width, 3), whole)).reshape(-1, height, width, 3)


def enhance_color(frames: np.ndarray, factor: float) -> np.ndarray:
    """Move colours away from grey (above 1) or towards it."""
    grey = np.tile(LUMA, (3, 1))
    return apply(frames, np.column_stack([factor * np.eye(3) + (1 - factor) * grey, np.zeros(3)]))


def enhance_contrast(frames: np.ndarray, factor: float) -> np.ndarray:
    """Move values away from the clip's mean brightness (above 1) or towards it."""
    mean = round(float(frames.mean((0, 1, 2)) @ LUMA))
    return look_up(frames, mean + factor * (np.arange(256)[:, None] - mean))


def enhance_sharpness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Move each frame away from its smoothed self (above 1) or towards it."""
    made = np.empty_like(frames)
    for frame, out in zip(frames, made, strict=True):
        cv2.addWeighted(frame, factor, filtered(frame[None], SMOOTH)[0], 1 - factor, 0, dst=out)
    return made


def filtered(frames: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve each frame; like Pillow's, the border stays as it is."""
    made, border = frames.copy(), len(kernel) // 2
    inside = slice(border, -border)
    for frame, out in zip(frames, made, strict=True):
        out[inside, inside] = cv2.filter2D(frame, -1, kernel)[inside, inside]
    return made


def moved(frames: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Take each pixel from where the matrix, [2, 3] of (x, y, 1), leads; outside is grey."""
    height, width = frames.shape[1:3]
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    border = (GREY, GREY, GREY)
    return np.stack(
        [
            cv2.warpAffine(f, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
            for f in frames
        ]
    )


Maker = Callable[[float, int, np.random.Generator], Change]
"""Makes an operation of a level from 0 to 1 and a size in pixels."""


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _always(change: Change) -> Maker:
    return lambda level, size, rng: change


def _enhancing(change: Callable[[np.ndarray, float], np.ndarray]) -> Maker:
    def make(level: float, size: int, rng: np.random.Generator) -> Change:
        factor = 1 + _sign(rng) * ENHANCEMENT * level
        return lambda frames: change(frames, factor)

    return make


def _brightness(frames: np.ndarray, factor: float) -> np.ndarray:
    return look_up(frames, factor * np.arange(256)[:, None])


def _posterize(level: float, size: int, rng: np.random.Generator) -> Change:
    gone = int(POSTERIZED_BITS * level)
    return partial(look_up, table=np.arange(256)[:, None] >> gone << gone)


def _solarize(level: float, size: int, rng: np.random.Generator) -> Change:
    values = np.arange(256)[:, None]
    return partial(look_up, table=np.where(values < 256 - int(SOLARIZED_VALUES * level), values, 255 - values))


def _rotate(level: float, size: int, rng: np.random.Generator) -> Change:
    centre = (size - 1) / 2
    return partial(moved, matrix=cv2.getRotationMatrix2D((centre, centre), _sign(rng) * ROTATION * level, 1.0))


def _shear(row: int) -> Maker:
    def make(level: float, size: int, rng: np.random.Generator) -> Change:
        matrix = np.eye(2, 3)
        matrix[row, 1 - row] = _sign(rng) * SHEAR * level
        return partial(moved, matrix=matrix)

    return make


def _translate(row: int) -> Maker:
    def make(level: float, size: int, rng: np.random.Generator) -> Change:
        matrix = np.eye(2, 3)
        matrix[row, 2] = _sign(rng) * TRANSLATION * level * size
        return partial(moved, matrix=matrix)

    return make


def _cutout(level: float, size: int, rng: np.random.Generator) -> Change:
    half = CUTOUT * level * size / 2
    ends = [(max(0, round(centre - half)), round(centre + half)) for centre in rng.uniform(0, size, 2)]
    return partial(fill, place=(slice(*ends[0]), slice(*ends[1])), color=GREY)


_MAKERS: tuple[Maker, ...] = (
    _always(np.copy),
    _always(autocontrast),
    _always(equalize),
    _always(np.invert),
    _rotate,
    _posterize,
    _solarize,
    _enhancing(enhance_color),
    _enhancing(enhance_contrast),
    _enhancing(_brightness),
    _enhancing(enhance_sharpness),
    _shear(0),
    _shear(1),
    _translate(0),
    _translate(1),
    _cutout,
    _always(partial(filtered, kernel=BLUR)),
    _always(partial(filtered, kernel=SMOOTH)),
)
