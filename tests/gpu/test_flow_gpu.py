"""TV-L1 on a GPU: as the native kernel's; needs torch, numpy, numba and OpenCV alone."""

import cv2
import numpy as np
import pytest
import torch

from tasks.video import TVL1, tvl1

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def drawn(height, width, frames):
    """A texture that drifts: uint8 [T,H,W]."""
    random = np.random.default_rng(3)
    image = cv2.GaussianBlur(random.normal(0, 1, (height + 40, width + 40)), (0, 0), 2)
    image = 128 + 45 * image / image.std()
    moves = [np.float64([[1, 0, 1.3 * t - 20], [0, 1.01, 0.4 * t - 20]]) for t in range(frames)]
    images = [cv2.warpAffine(image, move, (width, height), flags=cv2.INTER_CUBIC) for move in moves]
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "frames"), [(256, 340, 9), (240, 320, 2), (64, 64, 40), (17, 30, 3)])
@pytest.mark.parametrize("settings", [TVL1(), TVL1(median=3, warps=2)])
def test_agrees_with_the_native_kernel(height, width, frames, settings):
    gray = drawn(height, width, frames)
    difference = np.linalg.norm(tvl1(gray, settings, "torch") - tvl1(gray, settings), axis=1)
    assert difference[:, 8:-8, 8:-8].mean() <= 0.01
