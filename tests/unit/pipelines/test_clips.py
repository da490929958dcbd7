"""Clip settings of a recipe: the paper's, the recipe's, and the flip rule."""

from __future__ import annotations

import logging

import pytest

from pipelines import recipe
from pipelines.clips import clip_settings, sided
from pipelines.settings import Recipe

pytestmark = pytest.mark.quick


def of(**overrides: object) -> Recipe:
    content = {"name": "x", "data": {"dataset": "d"}, "model": {"name": "stm"}}
    return recipe.parse(content, {name.replace("__", "."): value for name, value in overrides.items()})


def test_takes_the_networks_published_values() -> None:
    rgb = clip_settings(of(), ["a", "b"])
    assert (rgb.segments, rgb.snippet, rgb.size, rgb.flip) == (8, 1, 224, 0.5)
    assert len(rgb.scales) == 4
    assert len(rgb.mean) == 3
    flow = clip_settings(of(model__name="tsn", model__stream="flow"), ["a", "b"])
    assert (flow.segments, flow.snippet, flow.mean, flow.std) == (3, 5, (0.5,), (0.226,))
    assert len(flow.scales) == 3


def test_the_recipe_wins() -> None:
    given = of(input__segments=4, input__size=112, input__scales=[1.0], input__max_distort=0, train__seed=7)
    clip = clip_settings(given, ["a"])
    assert (clip.segments, clip.size, clip.scales, clip.max_distort, clip.seed) == (4, 112, (1.0,), 0, 7)


def test_no_flip_where_a_class_tells_left_from_right(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert clip_settings(of(), ["sit", "walk_left", "walk_right"]).flip == 0
    assert [record.getMessage().count("walk_left") for record in caplog.records] == [1]
    assert clip_settings(of(input__flip=0.3), ["walk_left"]).flip == 0.3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("walk left", True),
        ("push_right", True),
        ("SwipeLeft", True),
        ("Pulling two fingers RIGHT-wards", True),
        ("left2right", True),
        ("bright", False),
        ("Uprights", False),
        ("cleft_palate", False),
        ("sit_down", False),
    ],
)
def test_sided_names(name: str, expected: bool) -> None:
    assert sided(name) is expected
