"""MTNet's changes of training clips (docs/papers/augmentation.md, section 5).

A. Stergiou, R. Poppe, "Multi-Temporal Convolutions for Human Action Recognition in Videos", IJCNN 2021, by the
authors' code, which has them from imgaug: blur, noise, colours, and a slight turn or tilt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from tasks.clips.rand_augment import enhance_color, look_up

Change = Callable[[np.ndarray], np.ndarray]
Filter = Callable[[np.ndarray], np.ndarray]

EACH = 0.4
"""Probability of each change of a clip that is degraded."""
BLURS = (0.1, 0.2, 0.3)
"""Standard deviations of the blur, in pixels."""
SHIFTS = (-5, 15)
"""Range of what is added to each colour."""
NOISE = 0.03 * 255
"""Standard deviation of the noise."""
COLOR = (1.2, 1.6)
MOTIONS = (3, 5, 7)
"""Lengths of motion blur, in pixels."""
HUE_AND_SATURATION = 16
"""Largest change of hue and of saturation, of 255."""
CONTRAST = (0.85, 1.115)
TILT = (0.02, 0.05)
"""Standard deviation of the corners' way inwards, as part of the side."""
TURN = 10.0
"""Degrees."""


def degradations(size: int, rng: np.random.Generator) -> list[Change]:
    """Return random changes of clips of size x size pixels, in their order."""
    makers = (_blur, _shift, _noise, _color, _motion, _hue_and_saturation, _contrast, _tilt_or_turn)
    chosen = rng.random(len(makers)) < EACH
    return [make(size, rng) for make, wanted in zip(makers, chosen, strict=True) if wanted]


def _each(frames: np.ndarray, change: Filter) -> np.ndarray:
    return np.stack([change(frame) for frame in frames])


def _blur(size: int, rng: np.random.Generator) -> Change:
    sigma = float(rng.choice(BLURS))
    return partial(_each, change=lambda frame: cv2.GaussianBlur(frame, (5, 5), sigma))


def _shift(size: int, rng: np.random.Generator) -> Change:
    return partial(look_up, table=np.arange(256)[:, None] + rng.integers(*SHIFTS, 3, endpoint=True))


def _noise(size: int, rng: np.random.Generator) -> Change:
    noise = np.rint(rng.normal(0, NOISE, (size, size, 3))).astype(np.int16)
    return lambda frames: (frames + noise).clip(0, 255).astype(np.uint8)


def _color(size: int, rng: np.random.Generator) -> Change:
    return partial(enhance_color, factor=rng.uniform(*COLOR))


def _motion(size: int, rng: np.random.Generator) -> Change:
    length = int(rng.choice(MOTIONS))
    weight = rng.random()  # of the far end: from forwards over both ways to backwards
    kernel = np.zeros((length, length), np.float32)
    kernel[:, length // 2] = np.linspace(weight, 1 - weight, length)
    centre = (length - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), rng.uniform(0, 360), 1.0)
    turned = cv2.warpAffine(kernel, turn, (length, length))
    return partial(_each, change=lambda frame: cv2.filter2D(frame, -1, turned / turned.sum()))


def _hue_and_saturation(size: int, rng: np.random.Generator) -> Change:
    hue, saturation = rng.integers(-HUE_AND_SATURATION, HUE_AND_SATURATION, 2, endpoint=True)
    values = np.arange(256)
    turned = (values + int(hue / 255 * 180)) % 180  # OpenCV halves degrees to fit them into a byte
    table = np.stack([turned, (values + saturation).clip(0, 255), values], 1).astype(np.uint8)[:, None]

    def change(frame: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.cvtColor(cv2.LUT(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV), table), cv2.COLOR_HSV2RGB))

    return partial(_each, change=change)


def _contrast(size: int, rng: np.random.Generator) -> Change:
    factor = rng.uniform(*CONTRAST)
    return partial(look_up, table=np.rint(128 + factor * (np.arange(256)[:, None] - 128)))


def _tilt_or_turn(size: int, rng: np.random.Generator) -> Change:
    if rng.random() < 0.5:
        inwards = np.abs(rng.normal(0, rng.uniform(*TILT), (4, 2))).clip(0, 0.45) * (size - 1)
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * (size - 1)
        taken = np.where(corners > 0, corners - inwards, inwards).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(taken, corners)
    else:
        centre = (size - 1) / 2
        matrix = np.vstack([cv2.getRotationMatrix2D((centre, centre), rng.uniform(-TURN, TURN), 1.0), [0, 0, 1]])
    return partial(_each, change=lambda frame: cv2.warpPerspective(frame, matrix, (size, size)))
