"""The `search.space` of a recipe: the fields that a sweep varies, and their distributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.errors import UserError, did_you_mean
from pipelines.recipe import Recipe, replaced

DISTRIBUTIONS = ("uniform", "log_uniform", "int_uniform", "choice")
FREE_FORM = ("model.options.",)
"""Sections of a recipe whose fields the network knows and checks."""

FIXED = ("name", "search", "evaluate", "data", "prepare", "compute", "train.epochs")
"""Fields that trials must not vary: what they are scored on, their resources, and the epochs they are compared over."""


def parse_space(recipe: Recipe) -> dict[str, tuple[str, list[Any]]]:
    """Return the space as field -> (distribution, its values).

    Raises:
        UserError: the space is empty, names an unknown field or distribution, has values that make none, or values
            that the field does not take.
    """
    if not recipe.search.space:
        raise UserError(
            "the recipe has no search.space: give the fields to vary, as in `train.lr: {log_uniform: [1e-4, 1e-1]}`"
        )
    fields = _fields(asdict(recipe))
    space = {field: _distribution(field, value, fields) for field, value in recipe.search.space.items()}
    for field, (name, values) in space.items():
        for value in _samples(name, values):
            _try(recipe, field, value)
    return space


def _samples(name: str, values: list[Any]) -> list[Any]:
    """Return values that a trial may have: all of a choice, else two near the ends, which are not drawn themselves."""
    if name in ("choice", "int_uniform"):
        return values
    inward = 1e-6 * (values[1] - values[0])
    return [values[0] + inward, values[1] - inward]


def _try(recipe: Recipe, field: str, value: Any) -> None:
    """Raise UserError where the recipe does not take a value of the search."""
    try:
        replaced(recipe, {field: value})
    except UserError as error:
        reason = str(error).removeprefix("recipe: ")
        raise UserError(f"search.space.{field} holds {value!r}, which does not fit: {reason}") from error


def _distribution(field: str, value: Any, fields: list[str]) -> tuple[str, list[Any]]:
    if field not in fields and not field.startswith(FREE_FORM):
        raise UserError(f"search.space has {field}, which a sweep cannot vary{did_you_mean(field, fields)}")
    if not isinstance(value, Mapping) or len(value) != 1:
        raise UserError(
            f"search.space.{field} must be one distribution with its values, such as {{uniform: [0.1, 0.9]}}, not "
            f"{value!r}; known: {', '.join(DISTRIBUTIONS)}"
        )
    ((name, values),) = value.items()
    if name not in DISTRIBUTIONS:
        raise UserError(f"search.space.{field}: unknown distribution {name!r}{did_you_mean(str(name), DISTRIBUTIONS)}")
    if not isinstance(values, list) or not values:
        raise UserError(f"search.space.{field}: {name} takes a list of values")
    if name == "choice":
        return name, values
    numbers = all(isinstance(value, int if name == "int_uniform" else int | float) for value in values)
    if not numbers or len(values) != 2 or not values[0] < values[1] or (name == "log_uniform" and values[0] <= 0):
        limits = "0 < lowest < highest" if name == "log_uniform" else "lowest < highest"
        whole = "whole numbers " if name == "int_uniform" else ""
        raise UserError(f"search.space.{field}: {name} takes {whole}[lowest, highest] with {limits}, not {values}")
    return name, values


def _fields(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in FIXED:
            continue
        found += _fields(value, f"{path}.") if isinstance(value, Mapping) else [path]
    return found


def plain_values(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sampled point with plain Python values, as recipes take them."""
    return {field: value.item() if hasattr(value, "item") else value for field, value in point.items()}
