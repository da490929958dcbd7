"""Recipes on every split of one dataset: each trained and scored, the streams fused, the splits averaged.

UCF101 and HMDB51 are reported as the mean over three official splits, small datasets as the mean over groups left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.attach import attach
from models import describe
from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.evaluate import FusedResult, fusion
from pipelines.evaluate.result import joined
from pipelines.recipe import Recipe
from pipelines.run.one_recipe import RunResult, prepare_source, refuse_missing, refuse_other, run
from pipelines.text import columns
from pipelines.tracking import Tracker, claim, open_store, workspace
from pipelines.tracking.copies import local_path
from pipelines.tracking.machines import refuse_unshared
from pipelines.tracking.run_folder import AverageFolder
from pipelines.tracking.run_list import about
from tasks.names import nfc

if TYPE_CHECKING:
    from tasks.learn import Metrics

log = logging.getLogger(__name__)

ALL = "all"
MEASURES = ("top1_percent", "top5_percent", "mean_class_percent")


@dataclass(frozen=True)
class Division:
    """A split by its name, a fold as `group=NAME`, or neither: what the recipe says itself."""

    split: str | None = None
    fold: str | None = None

    @property
    def name(self) -> str:
        """Suffix of the names of its runs."""
        return re.sub(r"[^\w.-]", "_", self.split or (self.fold or "").partition("=")[2])


@dataclass(frozen=True)
class AverageResult:
    """The scores of the recipes, each and fused, on each division."""

    recipes: list[str]
    divisions: list[str]
    runs: list[list[RunResult]]
    """By division, then by recipe."""
    fused: list[FusedResult]
    """By division; empty for one recipe."""
    folder: Path | None
    """Folder of the average, on this machine; None where there is one division."""

    @property
    def rows(self) -> dict[str, list[Metrics]]:
        """Metrics per division, by recipe and `together` for the fused scores; by the protocol with the most views."""
        rows = {
            name: [runs[index].evaluation.results[runs[index].evaluation.protocol] for runs in self.runs]
            for index, name in enumerate(self.recipes)
        }
        return rows | ({"together": [result.fused for result in self.fused]} if self.fused else {})

    def mean(self, row: str, measure: str) -> float:
        """Mean of a measure over the divisions, each counting the same."""
        values = [getattr(metrics, measure) for metrics in self.rows[row]]
        return float(sum(values) / len(values))

    @property
    def too_many_failed(self) -> bool:
        """Whether more videos failed than a recipe allows."""
        return any(result.too_many_failed for runs in self.runs for result in runs)


def average(
    given: Sequence[Recipe | str | Path],
    *,
    overrides: Mapping[str, Any] | None = None,
    splits: Sequence[str] = (),
    folds: Sequence[str] = (),
    score_weights: Sequence[float] | None = None,
    address: str | None = None,
    progress: bool = True,
) -> AverageResult:
    """Run each recipe on each division; what was done before is not repeated.

    Args:
        given: recipes of the same dataset, their files, or names of built-in ones; several are fused division by
            division.
        overrides: values of every recipe's fields, such as `{"train.lr": 0.02}`.
        splits: names of splits, or `all`.
        folds: `group=NAME` each, or `all` for every group in turn; without splits and folds, the recipes' own
            divisions.
        score_weights: weights of the recipes' scores in the sum; None is 1 for rgb and 1.5 for flow.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.

    Raises:
        UserError: as `run` and `fuse` raise it; two recipes have one name; splits and folds are both given.
    """
    loaded = [recipes.load(recipe, overrides) for recipe in given]
    names = [recipe.name for recipe in loaded]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two recipes are named {twice}, so their runs would be the same: rename one")
    _refuse_unlike(loaded, score_weights)
    for recipe in loaded:
        refuse_missing(recipe)
    uri = open_store(workspace(), loaded[0].experiment)
    if ALL in (*splits, *folds):  # prepared first, to know them
        attach(address)
        refuse_unshared(uri)
    divisions = _divisions(loaded[0], splits, folds, address, progress)
    for division in divisions:
        for recipe in loaded:
            refuse_other(_divided(recipe, division))
    folder = None
    if len(divisions) > 1:
        folder = AverageFolder.of(f"{joined(names)}-{joined([one.name for one in divisions])}")
        folder.make()
    runs, fused = [], []
    for division in divisions:
        own = [run(_divided(recipe, division), address=address, progress=progress) for recipe in loaded]
        runs.append(own)
        if len(own) > 1:
            fused.append(fusion.fuse([result.evaluation for result in own], score_weights))
    shown = [runs[0][0].evaluation.division] if divisions == [Division()] else [one.name for one in divisions]
    result = AverageResult(names, shown, runs, fused, local_path(folder.address) if folder else None)
    if folder is not None:
        _track(result, folder, loaded[0].experiment)
    return result


def _refuse_unlike(loaded: Sequence[Recipe], score_weights: Sequence[float] | None) -> None:
    """Raise UserError where the scores of these recipes could not be fused in the end."""
    if len(loaded) > 1 or score_weights:
        fusion.choose_weights([recipe.model.stream for recipe in loaded], score_weights)
    first, space = loaded[0], _score_space(loaded[0])
    for recipe in loaded[1:]:
        if recipe.evaluate.part != first.evaluate.part:
            raise UserError(f"recipes {first.name} and {recipe.name} are scored on other parts: set evaluate.part")
        if _score_space(recipe) != space:
            raise UserError(
                f"scores of {first.name} are means of {space}, those of {recipe.name} of {_score_space(recipe)}: set "
                "evaluate.score_space"
            )


def _score_space(recipe: Recipe) -> str:
    return recipe.evaluate.score_space or describe(recipe.model.name).score_space


def _divisions(
    recipe: Recipe, splits: Sequence[str], folds: Sequence[str], address: str | None, progress: bool
) -> list[Division]:
    if splits and folds:
        raise UserError("--splits and --folds exclude each other: give one")
    if not splits and not folds:
        return [Division()]
    if list(splits) != [ALL] and list(folds) != [ALL]:
        return [Division(split=nfc(name)) for name in splits] + [Division(fold=nfc(name)) for name in folds]
    from tasks.data import open_dataset

    prepare_source(recipe, address=address, progress=progress)  # the dataset knows its splits and groups
    dataset = open_dataset(recipe.data.dataset)
    if splits:
        return [Division(split=name) for name in dataset.splits]
    if not dataset.groups:
        raise UserError(f"{dataset.uri} has no groups to leave out: prepare it with --group, or give --splits")
    return [Division(fold=f"group={name}") for name in dataset.groups]


def _divided(recipe: Recipe, division: Division) -> Recipe:
    if division == Division():
        return recipe
    values = {"data.split": division.split, "data.fold": division.fold, "name": f"{recipe.name}-{division.name}"}
    return recipes.replaced(recipe, values)


def _track(result: AverageResult, folder: AverageFolder, experiment: str | None) -> None:
    """Log the means as an MLflow run of their own, which names the runs that they average."""
    content = to_dict(result)
    runs = [one.trained.run_id for runs in result.runs for one in runs]
    first = result.runs[0][0].evaluation
    tracker = Tracker.start(
        workspace(),
        folder.name,
        params={},
        tags={
            **about(f"mean over {', '.join(result.divisions)}", first.dataset),
            "average": "mean over divisions",
            "average.runs": " ".join(runs),
        },
        key=claim.own_key(folder),
        run_id=folder.read_run_id(),
        experiment=experiment,
    )
    with tracker:
        for name, row in content["rows"].items():
            tracker.log_metrics({f"mean/{name}/{measure}": row["mean"][measure] for measure in MEASURES}, step=0)
        tracker.log_metrics({f"{first.part}/top1_percent": result.mean(list(result.rows)[-1], "top1_percent")}, step=0)
        tracker.set_note(f"```\n{to_text(result)}\n```")
        tracker.log_artifact(folder.write_means(content, tracker.run_id))


def to_dict(result: AverageResult) -> dict[str, Any]:
    """Return the result as plain values for JSON."""
    rows = {
        name: {
            "divisions": {
                division: {measure: getattr(metrics, measure) for measure in MEASURES}
                for division, metrics in zip(result.divisions, row, strict=True)
            },
            "mean": {measure: result.mean(name, measure) for measure in MEASURES},
        }
        for name, row in result.rows.items()
    }
    return {"divisions": result.divisions, "rows": rows}


def to_text(result: AverageResult) -> str:
    """Return top-1 of each division and the means as text."""
    rows = [["top-1 %", *result.divisions, "mean", "mean class %"]]
    for name, row in result.rows.items():
        means = (result.mean(name, measure) for measure in ("top1_percent", "mean_class_percent"))
        values = [*(metrics.top1_percent for metrics in row), *means]
        rows.append([name, *(f"{value:7.2f}" for value in values)])
    lines = columns(rows, right=range(1, len(rows[0])))
    evaluations = [one.evaluation for one in result.runs[0]]
    views = ", ".join(f"{one.run_name}: {one.protocol}, mean {one.score_space}" for one in evaluations)
    return "\n".join([*lines, "", f"views per video: {views}"])
