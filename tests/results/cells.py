"""What a campaign consists of: studies, each a base recipe, its data and the configurations that are compared.

A cell is one configuration under one seed. Every cell of a study has the same videos, schedule and number of clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import recipe as recipes
from pipelines.recipe import Recipe
from tasks.stickfigures import FigureSettings

TINY = {"tiny": True}


@dataclass(frozen=True)
class Configuration:
    """One row of a table: a network with its options."""

    name: str
    model: str
    stream: str = "rgb"
    options: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of the recipe."""
    start: str | None = None
    """Configuration whose trained weights, under the same seed, it starts from."""


@dataclass(frozen=True)
class Fusion:
    """A row of two rows' scores summed, weighted as by `marey fuse`."""

    name: str
    rgb: str
    flow: str


@dataclass(frozen=True)
class Cell:
    """One training."""

    configuration: str
    seed: int
    fold: str | None
    recipe: Recipe
    start: Cell | None = None
    """The one that it starts from."""

    @property
    def key(self) -> str:
        """Name of its file: another network, input or schedule is another cell; a new field at its default is not."""
        usual = recipes.to_dict(recipes.parse({"name": "cell", "data": {"dataset": "data"}, "model": {"name": "tsn"}}))
        own = recipes.to_dict(self.recipe)
        told = {
            f"{section}.{name}": value
            for section in ("model", "input", "train")
            for name, value in own[section].items()
            if value != usual[section].get(name)
        }
        if self.start is not None:
            told["start"] = self.start.key
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        fold = f"-{self.fold.rpartition('=')[2]}" if self.fold else ""
        return f"{self.configuration.replace(' ', '_')}-seed{self.seed}{fold}-{digest}"


@dataclass(frozen=True)
class Study:
    """Configurations that are compared with one another."""

    name: str
    base: str
    """Built-in recipe that gives everything that a configuration does not."""
    fields: dict[str, Any]
    """Fields of the base recipe to change, for all alike."""
    configurations: tuple[Configuration, ...]
    fusions: tuple[Fusion, ...] = ()
    folds: tuple[str | None, ...] = (None,)
    """`group=NAME`, or the names of splits."""
    drawn: FigureSettings | None = None
    """The built-in videos it trains on; None: those in `videos`."""
    videos: str = ""
    """Folder below MAREY_TEST_VIDEOS, or the table of one, which is divided into the study's folds."""
    data_of: str | None = None
    """Study whose prepared videos it takes."""
    pictured: str | None = None
    """Configuration of whose neurons a picture is drawn."""
    beside: str | None = None
    """Row that the others stand beside, seed by seed: those of one seed share start, order and crops."""

    def cells(self, dataset: Path, seeds: int, overrides: Mapping[str, Any]) -> Iterator[Cell]:
        """All trainings, seed by seed, so that an early stop leaves whole tables of fewer seeds."""
        for seed in range(seeds):
            made: dict[tuple[str, str | None], Cell] = {}
            for one in self.configurations:  # one that others start from stands before them
                for fold in self.folds:
                    recipe = self._recipe(one, dataset, seed, fold, overrides)
                    cell = Cell(one.name, seed, fold, recipe, made[one.start, fold] if one.start else None)
                    made[one.name, fold] = cell
                    yield cell

    def recipe(self) -> Recipe:
        """What all its configurations have in common."""
        return recipes.parse(recipes.to_dict(recipes.load(self.base)), self.fields)

    def _recipe(
        self, one: Configuration, dataset: Path, seed: int, fold: str | None, overrides: Mapping[str, Any]
    ) -> Recipe:
        values = {
            "name": "cell",
            "data.source": None,
            "data.dataset": str(dataset),
            "data.fold": fold if fold and "=" in fold else None,
            "data.split": fold if fold and "=" not in fold else None,
            "model.name": one.model,
            "model.stream": one.stream,
            "model.options": {**TINY, **one.options},
            "train.seed": seed,
            **one.fields,
            **overrides,
        }
        return recipes.replaced(self.recipe(), values)
