"""Recipes that start from another recipe's run: both networks see a clip alike."""

from __future__ import annotations

import pytest
import torch
from network_helpers import clip_for, randomise

import models
from models.common.network import Network
from models.common.weights import adopt
from pipelines import recipe as recipes
from pipelines.recipe import Recipe

pytestmark = pytest.mark.quick
NAMES = sorted(file.stem for file in recipes.BUILT_IN.glob("*.yaml"))
RECIPES = {loaded.name: loaded for loaded in map(recipes.load, NAMES)}
STARTED = sorted(name for name, loaded in RECIPES.items() if loaded.model.weights in RECIPES)


def network_of(recipe: Recipe, classes: int = 6, **changes: object) -> Network:
    model = recipe.model
    torch.manual_seed(3)
    return models.build(model.name, classes, stream=model.stream, **{**model.options, **changes})


def tiny(recipe: Recipe) -> Network:
    options = {"tiny": True, **({"window": (2, 2, 2)} if "swin" in recipe.model.name else {})}
    return network_of(recipe, **options)


def test_they_are_known() -> None:
    assert {name for name in RECIPES if name.startswith("dsts")} <= set(STARTED)


@pytest.mark.parametrize("name", STARTED)
def test_a_start_has_the_features_that_its_run_was_trained_with(name: str) -> None:
    """A module that is added is the identity at first."""
    started, start = RECIPES[name], RECIPES[str(RECIPES[name].model.weights)]
    network, trained = tiny(started), tiny(start)
    randomise(trained)
    adopt(network, trained.state_dict(), start.name)
    clip = clip_for(trained, 2, started.input.get("segments", 8), 64, 64)
    with torch.no_grad():
        expected = trained.eval().forward_features(clip)
        got = network.eval().forward_features(clip)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("name", STARTED)
def test_a_start_has_the_shapes_of_its_run_at_full_size(name: str) -> None:
    with torch.device("meta"):
        network, trained = network_of(RECIPES[name]), network_of(RECIPES[str(RECIPES[name].model.weights)])
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert all(shapes[key] == value.shape for key, value in trained.state_dict().items())
