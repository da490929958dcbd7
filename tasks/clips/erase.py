"""Random erasing (docs/papers/augmentation.md, section 4).

Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, as in timm: one rectangle, the same in all frames of a
clip, filled with the colour that normalisation makes 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tasks.clips.settings import ClipSettings

AREA = (0.02, 1 / 3)
"""Smallest and largest part of a frame that is erased."""
ASPECT = (0.3, 1 / 0.3)
"""Smallest and largest height over width."""
DRAWS = 10
"""Draws of a rectangle; where none fits into the frame, nothing is erased."""


def eraser(clip: ClipSettings, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Return a change that erases one random rectangle of a clip."""
    color = np.rint(255 * np.asarray(clip.mean)).clip(0, 255).astype(np.uint8)
    areas = rng.uniform(*AREA, DRAWS) * clip.size**2
    aspects = np.exp(rng.uniform(np.log(ASPECT[0]), np.log(ASPECT[1]), DRAWS))
    for height, width in np.rint(np.sqrt([areas * aspects, areas / aspects])).astype(int).T:
        if 0 < height < clip.size and 0 < width < clip.size:
            y, x = rng.integers(0, (clip.size - height + 1, clip.size - width + 1))
            return partial(fill, place=(slice(y, y + height), slice(x, x + width)), color=color)
    return np.copy


def fill(frames: np.ndarray, place: tuple[slice, slice], color: np.ndarray | int) -> np.ndarray:
    """Return frames, uint8 [T, H, W, 3], with the rows and columns of `place` in one colour."""
    filled = frames.copy()
    filled[:, *place] = color
    return filled
