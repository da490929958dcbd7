"""The `search.space` of a recipe: the fields that a sweep varies, their distributions and their conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models import ModelError, describe
from pipelines.errors import UserError, did_you_mean
from pipelines.recipe import Recipe, replaced
from pipelines.recipe.values import WHEN

DISTRIBUTIONS = ("uniform", "log_uniform", "int_uniform", "choice")
FREE_FORM = ("model.options.",)
"""Sections of a recipe whose fields the network knows and checks."""

FIXED = ("name", "search", "evaluate", "data", "prepare", "compute", "train.epochs")
"""Fields that trials must not vary: what they are scored on, their resources, and the epochs they are compared over."""


@dataclass(frozen=True)
class Dimension:
    """A field of the space."""

    distribution: str
    values: list[Any]
    """All of a choice; the lowest and the highest of others."""
    when: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    """Other fields, with the values that each must have; else a trial has the recipe's value."""

    def is_varied(self, point: Mapping[str, Any]) -> bool:
        """Return whether a trial with these values of the fields before varies this one."""
        return all(field in point and point[field] in values for field, values in self.when.items())


Space = dict[str, Dimension]
"""By field; each comes after those that its condition names."""


def parse_space(recipe: Recipe) -> Space:
    """Return the recipe's space.

    Raises:
        UserError: the space names an unknown field or distribution, has values that make none, values that
            the field does not take, or a condition that cannot hold.
    """
    fields = _fields(asdict(recipe))
    space = {field: _dimension(field, value, fields) for field, value in recipe.search.space.items()}
    for field, dimension in space.items():
        _check_condition(field, dimension, space)
    space = _conditions_first(space)
    for field, dimension in space.items():
        _refuse_unlisted(recipe, field, dimension)
        for value in _samples(dimension):
            _try(recipe, space, field, value)
    return space


def grid_points(space: Space) -> list[dict[str, Any]]:
    """Return every combination of listed values, the first field's changing slowest, without fields not varied."""
    points: list[dict[str, Any]] = [{}]
    for field, dimension in space.items():
        points = [
            combined
            for point in points
            for combined in (
                [{**point, field: value} for value in dimension.values] if dimension.is_varied(point) else [point]
            )
        ]
    return points


def _samples(dimension: Dimension) -> list[Any]:
    """Return values that a trial may have: all of a choice, else two near the ends, which are not drawn themselves."""
    values = dimension.values
    if dimension.distribution in ("choice", "int_uniform"):
        return values
    inward = 1e-6 * (values[1] - values[0])
    return [values[0] + inward, values[1] - inward]


def _try(recipe: Recipe, space: Space, field: str, value: Any) -> None:
    """Raise UserError where the recipe does not take a value of the search."""
    try:
        made = replaced(recipe, {**_conditions(space, field), field: value})
        if field == "model.name":
            describe(value, made.model.options)  # loads torch, where there are options
        elif field.startswith(FREE_FORM):
            for name in _networks(recipe, space, field):
                describe(name, made.model.options)
    except (UserError, ModelError) as error:
        reason = str(error).removeprefix("recipe: ")
        raise UserError(f"search.space.{field} holds {value!r}, which does not fit: {reason}") from error


def _networks(recipe: Recipe, space: Space, field: str) -> list[str]:
    """Return the networks with which a field is varied."""
    if "model.name" in (conditions := _conditions(space, field)):
        return space[field].when.get("model.name", [conditions["model.name"]])
    return space["model.name"].values if "model.name" in space else [recipe.model.name]


def _conditions(space: Space, field: str) -> dict[str, Any]:
    """Return values of other fields with which this one is varied."""
    found: dict[str, Any] = {}
    for other, values in space[field].when.items():
        found |= {**_conditions(space, other), other: values[0]}
    return found


def _dimension(field: str, value: Any, fields: list[str]) -> Dimension:
    if field not in fields and not field.startswith(FREE_FORM):
        raise UserError(f"search.space has {field}, which a sweep cannot vary{did_you_mean(field, fields)}")
    given = {key: part for key, part in value.items() if key != WHEN} if isinstance(value, Mapping) else {}
    if len(given) != 1:
        raise UserError(
            f"search.space.{field} must be one distribution with its values, such as {{uniform: [0.1, 0.9]}}, not "
            f"{value!r}; known: {', '.join(DISTRIBUTIONS)}"
        )
    ((name, values),) = given.items()
    if name not in DISTRIBUTIONS:
        raise UserError(f"search.space.{field}: unknown distribution {name!r}{did_you_mean(str(name), DISTRIBUTIONS)}")
    if not isinstance(values, list) or not values:
        raise UserError(f"search.space.{field}: {name} takes a list of values")
    when = _when(field, value[WHEN]) if WHEN in value else {}
    if name == "choice":
        return Dimension(name, values, when)
    numbers = all(isinstance(value, int if name == "int_uniform" else int | float) for value in values)
    if not numbers or len(values) != 2 or not values[0] < values[1] or (name == "log_uniform" and values[0] <= 0):
        limits = "0 < lowest < highest" if name == "log_uniform" else "lowest < highest"
        whole = "whole numbers " if name == "int_uniform" else ""
        raise UserError(f"search.space.{field}: {name} takes {whole}[lowest, highest] with {limits}, not {values}")
    return Dimension(name, values, when)


def _when(field: str, given: Any) -> dict[str, list[Any]]:
    if not isinstance(given, Mapping) or not given or [] in given.values():
        raise UserError(
            f"search.space.{field}: when takes other fields of the search with values, such as "
            f"{{train.optimizer: sgd}}, not {given!r}"
        )
    return {other: value if isinstance(value, list) else [value] for other, value in given.items()}


def _check_condition(field: str, dimension: Dimension, space: Space) -> None:
    where = f"search.space.{field}: when names"
    for other, values in dimension.when.items():
        if other not in space:
            raise UserError(f"{where} {other}, which the search does not vary{did_you_mean(other, space)}")
        if space[other].distribution != "choice":
            raise UserError(f"{where} {other}, which has no listed values: give it a choice")
        for value in values:
            if value not in space[other].values:
                listed = ", ".join(str(one) for one in space[other].values)
                raise UserError(f"{where} {other}={value}, which its choice does not list: {listed}")


def _conditions_first(space: Space) -> Space:
    """Return the space with each field after those that its condition names, else in order."""
    ordered: Space = {}
    while len(ordered) < len(space):
        ready = [name for name, one in space.items() if name not in ordered and one.when.keys() <= ordered.keys()]
        if not ready:
            circle = " and ".join(name for name in space if name not in ordered)
            raise UserError(f"search.space: the conditions (when) of {circle} go in a circle: remove one")
        ordered[ready[0]] = space[ready[0]]
    return ordered


def _refuse_unlisted(recipe: Recipe, field: str, dimension: Dimension) -> None:
    if recipe.search.sampler == "grid" and dimension.distribution != "choice":
        raise UserError(
            f"search.space.{field} is {dimension.distribution}, and search.sampler=grid combines listed values: give "
            "it a choice, or set search.sampler=tpe"
        )


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
