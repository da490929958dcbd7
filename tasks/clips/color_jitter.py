"""TPN's changes of colour (docs/papers/augmentation.md, section 2).

C. Yang et al., "Temporal Pyramid Network for Action Recognition", CVPR 2020, by the authors' code. Each is affine in
red, green and blue, and so are all of them together: a clip takes one multiplication of each pixel by a 3 x 4 matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

EACH = 0.5
"""Probability of each of the four changes."""
BRIGHTNESS = 32.0
"""Largest shift of brightness, of 255."""
RANGE = 0.4
"""Contrast and saturation are factors of 1 - RANGE to 1 + RANGE."""
LIGHTING = 0.1
"""Standard deviation of the shifts along the principal axes of ImageNet's colours, in units of their eigenvalues."""
LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a pixel's brightness."""
TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
FROM_YIQ = np.array([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.107, 1.705]])
EIGENVALUES = np.array([55.46, 4.794, 1.148])
"""Variances of ImageNet's colours in 0 to 255 along their axes (Krizhevsky et al., NIPS 2012)."""
EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def color_jitter(strength: float, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Return a random change of brightness, contrast, saturation, hue and lighting, at a strength from 0 to 1."""
    return partial(apply, matrix=color_matrix(strength, rng))


def color_matrix(strength: float, rng: np.random.Generator) -> np.ndarray:
    """Return the change as a matrix, float64 [3, 4], of (red, green, blue, 1)."""
    brightness = strength * BRIGHTNESS * rng.uniform(-1, 1)
    contrast, saturation = 1 + strength * RANGE * rng.uniform(-1, 1, 2)
    angle = strength * np.pi * rng.uniform(-1, 1)
    brighten, stretch, saturate, turn, contrast_first = rng.random(5) < EACH
    lighting = EIGENVECTORS @ (rng.normal(0, LIGHTING * strength, 3) * EIGENVALUES)

    steps = [_saturation(saturation) if saturate else np.eye(3), _hue(angle) if turn else np.eye(3)]
    steps.insert(0 if contrast_first else 2, np.eye(3) * (contrast if stretch else 1.0))
    product = steps[2] @ steps[1] @ steps[0]
    shift = product @ np.full(3, brightness if brighten else 0.0) + lighting
    return np.column_stack([product, shift])


def apply(frames: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply the colours, uint8 [T, H, W, 3], by a matrix [3, 4], and round to 0 to 255."""
    height, width = frames.shape[1:3]
    return np.asarray(cv2.transform(frames.reshape(-1, width, 3), matrix)).reshape(-1, height, width, 3)


def _saturation(factor: float) -> np.ndarray:
    return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def _hue(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ TO_YIQ)
