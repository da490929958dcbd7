"""Flow as colours: how direction and speed look."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from tasks.video.colours import BEYOND, colour_wheel, flow_colours

pytestmark = pytest.mark.quick


def colour_of(x: float, y: float, scale: float = 1.0) -> np.ndarray:
    return flow_colours(np.float32([[[x]], [[y]]]), scale)[0, 0]


def hsv_of(x: float, y: float, scale: float = 1.0) -> tuple[float, float, float]:
    return colorsys.rgb_to_hsv(*(colour_of(x, y, scale) / 255))


def test_no_motion_is_white():
    image = flow_colours(np.zeros((2, 3, 5), np.float32), 4)
    assert (image.shape, image.dtype) == ((3, 5, 3), np.uint8)
    assert (image == 255).all()


def test_the_published_hues_of_the_four_directions():
    red, yellow, cyan, violet = (hsv_of(*way)[0] * 360 for way in ((1, 0), (0, 1), (-1, 0), (0, -1)))
    assert red == pytest.approx(0, abs=1)
    assert 45 < yellow < 65
    assert 175 < cyan < 205
    assert 245 < violet < 285


def test_hue_goes_once_around_with_the_direction():
    angles = np.linspace(0, 2 * np.pi, 361)[:-1]
    hues = np.array([hsv_of(np.cos(angle), np.sin(angle))[0] for angle in angles]) * 360
    steps = np.diff(hues)
    assert (steps > -1e-6).all()
    assert steps.max() < 5
    assert hues[-1] > 350
    assert hues[0] < 1


def test_hue_does_not_depend_on_speed_and_saturation_grows_with_it():
    for angle in np.linspace(0, 6, 13):
        slow, fast = (hsv_of(speed * np.cos(angle), speed * np.sin(angle), 4) for speed in (1.0, 3.0))
        assert abs((slow[0] - fast[0] + 0.5) % 1 - 0.5) < 0.02
        assert slow[1] == pytest.approx(0.25, abs=0.01)
        assert fast[1] == pytest.approx(0.75, abs=0.01)


def test_only_speed_over_scale_counts():
    np.testing.assert_array_equal(colour_of(1, -2, 4), colour_of(2.5, -5, 10))


def test_what_is_faster_than_the_scale_is_darker():
    assert hsv_of(0, 0.99)[2] == 1
    assert hsv_of(0, 1.5)[2] == pytest.approx(BEYOND, abs=0.01)


def test_the_wheel_shows_the_colour_of_the_motion_from_its_middle():
    wheel = colour_wheel(101)
    assert wheel.shape == (101, 101, 4)
    assert (wheel[50, 50, :3] == 255).all()
    for x, y in ((80, 50), (20, 50), (50, 80), (40, 20)):
        expected = colour_of(x - 50, y - 50, 50.5)
        assert np.abs(wheel[y, x, :3].astype(int) - expected).max() <= 1
    assert wheel[0, 0, 3] == 0
    assert wheel[50, 2, 3] == 255
    assert wheel[50, 2:99, :3].max(-1).min() == 255  # nothing inside is beyond the scale
