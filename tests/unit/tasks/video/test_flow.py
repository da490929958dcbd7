import cv2
import numpy as np
import pytest

from tasks.video import TVL1, dequantize, quantize, tvl1
from tasks.video.flow import to_gray

pytestmark = pytest.mark.quick


def texture(height=96, width=128):
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.normal(128, 90, (height, width)).astype(np.float32), (0, 0), 2.5)
    return np.clip((image - image.mean()) / image.std() * 45 + 128, 0, 255)


def shifted(image, dx, dy):
    moved = cv2.warpAffine(
        image, np.float32([[1, 0, dx], [0, 1, dy]]), image.shape[::-1], borderMode=cv2.BORDER_REFLECT
    )
    return moved.round().astype(np.uint8)


def test_quantisation_table():
    values = np.float32([-25, -20, -10, -1, -0.1, 0, 0.1, 1, 10, 20, 25])
    assert quantize(values).tolist() == [0, 0, 64, 121, 127, 128, 128, 134, 191, 255, 255]


@pytest.mark.parametrize("bound", [20.0, 32.0, 7.5])
def test_all_levels_survive_and_order_is_kept(bound):
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(quantize(dequantize(levels, bound), bound), levels)
    fine = np.linspace(-bound, bound, 5001, dtype=np.float32)
    assert (np.diff(quantize(fine, bound).astype(int)) >= 0).all()
    assert np.abs(dequantize(quantize(fine, bound), bound) - fine).max() <= bound / 255 + 1e-5


def test_no_motion_comes_back_as_bound_over_255():
    assert dequantize(quantize(np.float32([0])))[0] == pytest.approx(20 / 255, abs=1e-5)


def test_shift_is_recovered_in_pixels_a_frame_x_first():
    image = texture()
    frames = np.stack([shifted(image, 2.5 * t, -1.25 * t) for t in range(3)])
    flow = tvl1(frames)
    assert flow.shape == (2, 2, 96, 128)
    assert flow.dtype == np.float32
    inner = flow[:, :, 16:-16, 16:-16]
    assert inner[:, 0].mean() == pytest.approx(2.5, abs=0.1)
    assert inner[:, 1].mean() == pytest.approx(-1.25, abs=0.1)


def test_mirrored_frames_give_255_minus_x():
    image = texture()
    frames = np.stack([shifted(image, 0, 0), shifted(image, 3, 1)])
    q = quantize(tvl1(frames))[0].astype(int)
    m = quantize(tvl1(np.ascontiguousarray(frames[:, :, ::-1])))[0].astype(int)[:, :, ::-1]
    inner = np.s_[16:-16, 16:-16]
    assert np.abs(m[0][inner] - (255 - q[0][inner])).mean() <= 1
    assert np.abs(m[1][inner] - q[1][inner]).mean() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"tau": 0.1},
        {"lambda_": 0.02},
        {"theta": 0.8},
        {"scales": 1},
        {"warps": 1},
        {"epsilon": 1.0},
        {"inner_iterations": 2},
        {"outer_iterations": 1},
        {"scale_step": 0.5},
        {"median": 1},
    ],
)
def test_every_setting_has_an_effect(change):
    image = texture(64, 80)
    frames = np.stack([shifted(image, 0, 0), shifted(image, 3, 1)])
    assert not np.array_equal(tvl1(frames), tvl1(frames, TVL1(**change)))


def test_one_frame_has_no_flow():
    assert tvl1(np.zeros((1, 20, 30), np.uint8)).shape == (0, 2, 20, 30)


@pytest.mark.parametrize("gray", [np.zeros((2, 20, 30)), np.zeros((20, 30), np.uint8), np.zeros((2, 0, 30), np.uint8)])
def test_what_is_no_stack_of_images_is_refused(gray):
    with pytest.raises(ValueError, match="uint8 images \\[T,H,W\\]"):
        tvl1(gray)


def test_an_unknown_backend_names_those_there_are():
    with pytest.raises(ValueError, match="unknown flow backend 'cuda'; known: native, opencv, torch"):
        tvl1(np.zeros((2, 20, 30), np.uint8), backend="cuda")


def test_gray_is_luma():
    images = np.zeros((1, 2, 3, 3), np.uint8)
    images[0, 0] = (255, 0, 0)
    images[0, 1] = (0, 0, 255)
    assert to_gray(images)[0, :, 0].tolist() == [76, 29]
