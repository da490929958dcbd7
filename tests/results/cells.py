"""What the campaign trains: studies, each a base recipe, its data and the configurations that are compared.

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
from pipelines.settings import Recipe

TINY = {"tiny": True}
SNIPPETS = {"input.segments": 3}
"""Two streams as in TSN: three segments, of a frame, of two neighbouring frames, or of five pairs of flow."""


@dataclass(frozen=True)
class Configuration:
    """One row of a table: a network with its options."""

    name: str
    model: str
    stream: str = "rgb"
    options: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of the recipe."""


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

    @property
    def key(self) -> str:
        """Name of its file: another recipe, dataset or seed is another cell."""
        told = {section: recipes.to_dict(self.recipe)[section] for section in ("model", "input", "train", "data")}
        told["data"] = {"fold": self.fold, "dataset": Path(self.recipe.data.dataset).name}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        fold = f"-{self.fold.partition('=')[2]}" if self.fold else ""
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

    def cells(self, dataset: Path, seeds: int, overrides: Mapping[str, Any]) -> Iterator[Cell]:
        """All trainings, seed by seed, so that an early stop leaves whole tables of fewer seeds."""
        for seed in range(seeds):
            for one in self.configurations:
                for fold in self.folds:
                    recipe = self._recipe(one, dataset, seed, fold, overrides)
                    yield Cell(one.name, seed, fold, recipe)

    def _recipe(
        self, one: Configuration, dataset: Path, seed: int, fold: str | None, overrides: Mapping[str, Any]
    ) -> Recipe:
        values = {
            **self.fields,
            "name": "cell",
            "data.source": None,
            "data.dataset": str(dataset),
            "data.fold": fold,
            "model.name": one.model,
            "model.stream": one.stream,
            "model.options": {**TINY, **one.options},
            "train.seed": seed,
            **one.fields,
            **overrides,
        }
        return recipes.parse(recipes.to_dict(recipes.load(self.base)), values)


def _named(*networks: str) -> tuple[Configuration, ...]:
    return tuple(Configuration(name, name) for name in networks)


FIGURES = Study(
    name="figures",
    base="demo_stm",
    fields={"train.epochs": 12},
    configurations=(
        *_named("tsn", "tsm", "stm", "tada2d", "stam"),
        Configuration("stam: STHAC without OD", "stam", options={"od": False}),
        Configuration("stam: without the temporal branch", "stam", options={"branches": "spatial"}),
        Configuration("stam: without the spatial branch", "stam", options={"branches": "temporal"}),
        Configuration("stam: static filters with OD", "stam", options={"branches": "none"}),
        Configuration("stm: CSTM only", "stm", options={"branches": "cstm"}),
        Configuration("stm: CMM only", "stm", options={"branches": "cmm"}),
        Configuration("stm flow, 5 segments", "stm", "flow", fields={"input.segments": 5}),
        Configuration("tsn, 3 segments", "tsn", fields=SNIPPETS),
        Configuration("tsn flow, 3 segments", "tsn", "flow", fields=SNIPPETS),
        Configuration("stin_spatial", "stin_spatial", fields=SNIPPETS),
        Configuration("stin_temporal", "stin_temporal", "flow", fields=SNIPPETS),
        Configuration("stin_temporal: without its loss", "stin_temporal", "flow", {"lambda_t": 0.0}, SNIPPETS),
    ),
    fusions=(
        Fusion("two-stream: tsn + tsn flow, 3 segments", "tsn, 3 segments", "tsn flow, 3 segments"),
        Fusion("with the difference loss: stin_spatial + tsn flow", "stin_spatial", "tsn flow, 3 segments"),
        Fusion("with attention and its loss: tsn + stin_temporal", "tsn, 3 segments", "stin_temporal"),
        Fusion("stin: stin_spatial + stin_temporal", "stin_spatial", "stin_temporal"),
        Fusion("stm + stm flow", "stm", "stm flow, 5 segments"),
    ),
)
GESTURES = Study(
    name="gestures",
    base="ud810_gestures",
    fields={},
    configurations=(
        *_named("tsn", "tsm", "stm", "tada2d", "stam"),
        Configuration("tsn flow", "tsn", "flow"),
        Configuration("stm flow", "stm", "flow"),
    ),
    fusions=(
        Fusion("two-stream: tsn + tsn flow", "tsn", "tsn flow"),
        Fusion("stm + stm flow", "stm", "stm flow"),
    ),
    folds=("group=1", "group=2", "group=3"),
)
STUDIES = {study.name: study for study in (FIGURES, GESTURES)}
