"""TV-L1 on a GPU: as the native kernel's; needs torch, numpy, numba and OpenCV alone."""

import pytest
import torch
from textures import difference, drawn

from tasks.video import TVL1, tvl1

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(("height", "width", "frames"), [(256, 340, 9), (240, 320, 2), (64, 64, 40), (17, 30, 3)])
@pytest.mark.parametrize("settings", [TVL1(), TVL1(median=3, warps=2)])
def test_agrees_with_the_native_kernel(height, width, frames, settings):
    gray = drawn(height, width, frames)
    assert difference(tvl1(gray, settings, "torch"), tvl1(gray, settings)) <= 0.01
