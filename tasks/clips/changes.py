"""What is done to the frames of a training clip between its crop and its normalisation.

Everything is drawn once per clip and done to all its frames alike. A change takes the frames, uint8 [T, H, W, 3], and
returns new ones of the same shape. Flow stays as it is: these changes are those of pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.clips.color_jitter import color_jitter
from tasks.clips.degrade import degradations
from tasks.clips.erase import eraser
from tasks.clips.rand_augment import operations
from tasks.clips.settings import ClipSettings

Change = Callable[[np.ndarray], np.ndarray]


def train_changes(clip: ClipSettings, rng: np.random.Generator) -> list[Change]:
    """Return the random changes of a training clip, in their order; nothing is drawn for those that are off."""
    if clip.stream == "flow":
        return []
    changes: list[Change] = []
    if clip.color_jitter:
        changes.append(color_jitter(clip.color_jitter, rng))
    if clip.degrade and rng.random() < clip.degrade:
        changes += degradations(clip.size, rng)
    if clip.rand_augment:
        changes += operations(clip.rand_augment, clip.rand_magnitude, clip.size, rng)
    if clip.erase and rng.random() < clip.erase:
        changes.append(eraser(clip, rng))
    return changes
