"""Drawn frames with flow, and comparison of flow."""

import hashlib

import cv2
import numpy as np

from tasks.video import tvl1
from tasks.video.stack import resize

CHANGES = [
    {"tau": 0.1},
    {"lambda_": 0.05},
    {"theta": 0.5},
    {"scales": 1},
    {"warps": 2},
    {"epsilon": 0.1},
    {"inner_iterations": 3},
    {"outer_iterations": 1},
    {"scale_step": 0.5},
    {"median": 1},
    {"median": 3},
]
"""Settings of TVL1 with which backends are compared."""


def drawn(height, width, frames=3, speed=1.0):
    """Draw a drifting texture: uint8 [T,H,W]."""
    random = np.random.default_rng(3)
    size = (height + 40, width + 40)
    image = sum(cv2.GaussianBlur(random.normal(0, s, size), (0, 0), s) for s in (1.5, 4, 9))
    image = 128 + 45 * image / image.std()
    moves = [np.float64([[1, 0, speed * 1.3 * t - 20], [0, 1.01, speed * 0.4 * t - 20]]) for t in range(frames)]
    images = [cv2.warpAffine(image, move, (width, height), flags=cv2.INTER_CUBIC) for move in moves]
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def difference(a, b):
    """Return the mean end-point difference in pixels, without the edge, where the flow out of view is undefined."""
    edge = 8 if min(a.shape[2:]) > 32 else 0
    inner = np.s_[:, :, edge : a.shape[2] - edge, edge : a.shape[3] - edge]
    return np.linalg.norm(a[inner] - b[inner], axis=1).mean()


def kernels_digest(gray):
    """Return the sha256 (hex) of the compiled kernels' results for uint8 [T,H,W], larger than 33 x 37."""
    content = tvl1(gray).tobytes() + resize(np.stack([*gray[:2], gray[0]], -1), 33, 37).tobytes()
    return hashlib.sha256(content).hexdigest()
