"""`marey run`: prepare, train, evaluate, register; a step already done with the same inputs is not repeated."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster.attach import attach
from pipelines.errors import UserError
from pipelines.evaluate import EvaluateResult, evaluate
from pipelines.evaluate import result as evaluations
from pipelines.prepare import PrepareResult, prepare
from pipelines.prepare.workflow import to_text
from pipelines.recipe import Recipe, load, open_data, refuse_impossible, to_dict
from pipelines.recipe.dataset import not_there
from pipelines.tracking import RunFolder, Tracker, open_store, tracking_uri, workspace
from pipelines.tracking.copies import fetch_folder
from pipelines.tracking.machines import refuse_unshared
from pipelines.train import TrainResult, train
from pipelines.train.publish import accuracy, summary
from tasks.data import storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """The outcome of a recipe."""

    prepared: PrepareResult | None
    """None where the recipe names no source, only a prepared dataset."""
    trained: TrainResult
    evaluation: EvaluateResult
    model: str
    """`models:/NAME/VERSION` in the registry."""

    @property
    def too_many_failed(self) -> bool:
        """Whether more videos failed than the recipe allows."""
        return self.prepared is not None and self.prepared.too_many_failed


def run(
    recipe: Recipe | str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    address: str | None = None,
    progress: bool = True,
) -> RunResult:
    """Take a recipe from its videos to an evaluated network in the registry.

    Args:
        recipe: a recipe, its file, or the name of a built-in one; with `data.source` the dataset is prepared first,
            else it must exist.
        overrides: values of the recipe's fields, such as `{"train.lr": 0.02}`.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.

    Raises:
        UserError: as the steps raise it.
    """
    recipe = load(recipe, overrides)
    refuse_impossible(recipe)
    refuse_missing(recipe)
    finished = refuse_other(recipe)
    uri = open_store(workspace(), recipe.experiment)
    if not finished:
        attach(address)
        refuse_unshared(uri)  # before videos are prepared for hours
    prepared = prepare_source(recipe, address=address, progress=progress)
    log.info("training %s", recipe.name)
    trained = train(recipe, address=address, progress=progress)
    evaluation = _evaluation(recipe, trained, address, progress)
    tracker = Tracker(tracking_uri(workspace()), trained.run_id)
    tested = {evaluation.part: evaluation.results[evaluation.protocol].top1_percent}
    text = f"{summary(recipe, {**tested, **accuracy(trained.metrics)})}; {evaluation.part} by {evaluation.protocol}"
    model = tracker.describe_version(recipe.name, text)
    return RunResult(prepared, trained, evaluation, model)


def refuse_missing(recipe: Recipe) -> None:
    """Raise UserError where there is no source, or no dataset where that is not prepared first."""
    source = recipe.data.source
    if source is not None and storage.is_local(source) and not Path(source).exists():
        raise UserError(f"data.source: {not_there(source)}")
    if source is None:
        open_data(recipe)


def refuse_other(recipe: Recipe) -> bool:
    """Raise UserError where a run of this name was started with another recipe; return whether it has finished."""
    recipe = replace(recipe, train=recipe.train.resolved())  # as its state has it
    state = RunFolder.of(recipe.name).matching_state(to_dict(recipe), None, ("model", "input", "train"))
    return state is not None and state.result is not None


def prepare_source(recipe: Recipe, *, address: str | None = None, progress: bool = True) -> PrepareResult | None:
    """Prepare the source that a recipe names; return None where it names none."""
    if recipe.data.source is None:
        return None
    log.info("preparing %s", recipe.data.source)
    prepared = prepare(
        recipe.data.source,
        recipe.data.dataset,
        layout=recipe.data.layout,
        settings=recipe.prepare,
        group=recipe.data.group,
        group_column=recipe.data.group_column,
        max_failed=recipe.data.max_failed,
        address=address,
        progress=progress,
    )
    log.info("%s", to_text(prepared))
    return prepared


def _evaluation(recipe: Recipe, trained: TrainResult, address: str | None, progress: bool) -> EvaluateResult:
    folder = RunFolder.of(recipe.name)
    dataset = open_data(recipe)
    inputs = json.loads(
        json.dumps({"run": trained.run_id, "dataset": dataset.digest, "settings": asdict(recipe.evaluate)})
    )
    before = folder.read_evaluation()
    if before is not None:
        kept = before["evaluation"]
        if before["inputs"] == inputs and storage.exists(kept["folder"]):
            found = evaluations.read(fetch_folder(kept["folder"], evaluations.RESULT))
            # `marey evaluate` with other settings leaves its files in the same folder.
            if (found.views, found.score_space) == (kept["views"], kept["score_space"]):
                log.info("run %s has already been evaluated; this is its result", recipe.name)
                return found
    log.info("evaluating %s", recipe.name)
    result = evaluate(trained.run_id, settings=recipe.evaluate, address=address, progress=progress)
    folder.write_evaluation({"inputs": inputs, "evaluation": evaluations.to_dict(result)})
    return result
