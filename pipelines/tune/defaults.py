"""What a sweep takes where its recipe leaves it open: the space that suits any network, and the number of trials."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from models import describe
from models.common.describe import network_class
from pipelines.errors import UserError
from pipelines.recipe import Recipe, replaced
from pipelines.tune.space import Space, grid_points, parse_space

log = logging.getLogger(__name__)

TRIALS = 20
"""How many a search that draws its values has."""
FACTOR = 10
"""Rates are searched from a tenth of the recipe's to ten times as much."""


def filled(recipe: Recipe) -> tuple[Recipe, Space]:
    """Return the recipe with a space and a number of trials, and the space, checked.

    Raises:
        UserError: as `parse_space`; or there are more trials than combinations of a grid.
    """
    search = recipe.search
    if not search.space:
        recipe = replaced(recipe, {"search.space": default_space(recipe)})
        log.info("the recipe has no search.space: searching %s", ", ".join(recipe.search.space))
    space = parse_space(recipe)
    if search.sampler != "grid":
        return replaced(recipe, {"search.trials": search.trials or TRIALS}), space
    combinations = len(grid_points(space))
    if (search.trials or 0) > combinations:
        raise UserError(
            f"search.trials={search.trials} is more than the {combinations} combinations of the grid: lower it, or "
            "leave it out"
        )
    return replaced(recipe, {"search.trials": search.trials or combinations}), space


def default_space(recipe: Recipe) -> dict[str, Any]:
    """Return the space of a recipe that has none: its rates, what regularises it, and momentum of SGD.

    For a grid it holds the recipe's rate, a third and three times as much.
    """
    train = recipe.train
    dropout = any(option.name == "dropout" for option in fields(network_class(describe(recipe.model.name)).Options))
    if recipe.search.sampler == "grid":
        grid: dict[str, Any] = {"train.lr": {"choice": [_rounded(train.lr * by) for by in (1 / 3, 1, 3)]}}
        return grid | ({"model.options.dropout": {"choice": [0.2, 0.5]}} if dropout else {})
    space: dict[str, Any] = {"train.lr": _around(train.lr)}
    if train.weight_decay:
        space["train.weight_decay"] = _around(train.weight_decay)
    if train.optimizer == "sgd":
        space["train.momentum"] = {"uniform": [0.8, 0.98]}
    space["train.label_smoothing"] = {"choice": [0.0, 0.1]}
    if dropout:
        space["model.options.dropout"] = {"uniform": [0.0, 0.8]}
    return space


def _around(rate: float) -> dict[str, list[float]]:
    return {"log_uniform": [_rounded(rate / FACTOR), _rounded(rate * FACTOR)]}


def _rounded(rate: float) -> float:
    return float(f"{rate:.4g}")
