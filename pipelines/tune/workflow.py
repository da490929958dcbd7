"""`marey tune`: a search over a recipe's fields by Ray Tune; each trial is a training of its own."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.attach import attach
from pipelines import recipe as recipes
from pipelines.compute import capacity
from pipelines.errors import UserError
from pipelines.recipe import Recipe, check_dataset, open_data, refuse_impossible
from pipelines.tracking import RunFolder, Tracker, claim, masked, open_store, tracking_uri, workspace
from pipelines.tracking.machines import refuse_unshared
from pipelines.tracking.patience import outlast
from pipelines.tracking.run_folder import SweepFolder
from pipelines.tracking.run_list import READABLE, about
from pipelines.tracking.state import State
from pipelines.tune.callbacks import best_of, end_finished, sweep_callback
from pipelines.tune.defaults import filled
from pipelines.tune.ledger import ID_BYTES, TRIAL, Ledger, trial_name
from pipelines.tune.outcome import TrialOutcome, ranked, short_names
from pipelines.tune.quiet import quiet
from pipelines.tune.report import report
from pipelines.tune.space import Space
from pipelines.tune.stopping import stoppable
from pipelines.tune.trial import run_trial, trial_recipe, trial_resources
from tasks.words import counted

if TYPE_CHECKING:
    from ray.tune import Callback, Tuner

log = logging.getLogger(__name__)

SECTIONS = ("model", "input", "train", "search")
"""Sections of the recipe that a later start of the same name must leave as they were."""


@dataclass(frozen=True)
class TuneResult:
    """The outcome of a sweep."""

    run_id: str
    """The parent run in MLflow."""
    best: Path
    """Recipe file of the best trial, on this machine."""
    best_run: str
    """Name of the best trial's run."""
    values: dict[str, Any]
    """The fields of the best trial that the sweep varied."""
    score: float
    """The best value of the sweep's metric in that trial."""
    metric: str
    trials: int
    failed: int
    fields: list[str]
    """What was varied."""
    ranking: list[TrialOutcome]
    """All trials, the best first and failed ones last."""
    log: str
    """Where the log of Ray Tune is."""


def tune(
    recipe: Recipe | str | Path, *, overrides: Mapping[str, Any] | None = None, address: str | None = None
) -> TuneResult:
    """Run the recipe's `search`; an interrupted sweep of the same name is resumed, and goes on to more trials.

    Args:
        recipe: the recipe whose fields are varied, its file, or the name of a built-in one.
        overrides: values of the recipe's fields, such as `{"search.trials": 50}`.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.

    Raises:
        UserError: the search space is wrong; the dataset or the cluster does not suit the recipe; a sweep of this name
            had another recipe; or every trial failed.
    """
    recipe = recipes.load(recipe, overrides)
    longest = trial_name(recipe.name, "0" * 2 * ID_BYTES)
    recipes.replaced(recipe, {"name": longest})  # refuses a name too long for its trials
    recipe, space = filled(recipe)
    refuse_impossible(recipe)
    dataset = open_data(recipe)
    if recipe.search.metric.startswith("val/") and not dataset.parts.get("val"):
        raise UserError(
            f"search.metric is {recipe.search.metric}, and the dataset has no val part: choose another split"
        )
    if recipe.compute.fewest != recipe.compute.most:
        raise UserError("compute.workers must be one number in a sweep, whose trials share the cluster: choose one")
    folder = SweepFolder.of(recipe.name)
    state = folder.matching_state(recipes.to_dict(recipe), dataset.digest, SECTIONS, free=("search.trials",))
    if state:
        _refuse_fewer(recipe, folder.read_trials())
    check_dataset(dataset, recipe)
    claim.refuse_held(folder.address)
    uri = open_store(workspace(), recipe.experiment)
    attach(address)  # seconds, like torch: what can be refused without them has been
    capacity.refuse_too_large(recipe.compute)
    refuse_unshared(uri)
    folder.make()
    what = f"sweep: {', '.join(short_names(list(space)).values())}"
    if len(what) > READABLE:
        what = f"sweep over {counted(len(space), 'field')}"
    with claim.hold(folder.address) as lock:
        state = folder.read_state()
        tracker = Tracker.start(
            workspace(),
            recipe.name,
            params=recipes.to_dict(recipe),
            tags={
                **about(what, recipe.data.dataset, recipe.data.fold or recipe.data.split),
                "sweep": "parent",
                "model": recipe.model.name,
                "stream": recipe.model.stream,
            },
            key=claim.own_key(folder),
            run_id=state.run_id if state else None,
            experiment=recipe.experiment,
        )
        with tracker, masked(workspace()):
            if state is None:
                tracker.log_dataset(recipe.data.dataset, dataset.digest)
            folder.write_state(State(tracker.run_id, dataset.digest, recipes.to_dict(recipe)))
            ledger = Ledger(folder, recipe.search.trials or 0)
            with quiet(folder):
                error = _search(recipe, space, ledger, tracker)
                lock.confirm()
                return outlast(lambda: _conclude(recipe, ledger, error, folder, tracker, space))


def concurrent_trials(recipe: Recipe, have: Mapping[str, float]) -> int:
    """Return how many trials run at once: as many as fit, at most what the recipe says."""
    fit = min(int(have.get(kind, 0) // need) for kind, need in capacity.training_resources(recipe.compute).items())
    return max(1, min(fit, recipe.search.concurrent or fit))  # machines may come


def _refuse_fewer(recipe: Recipe, before: int) -> None:
    if (recipe.search.trials or 0) < before:
        raise UserError(
            f"sweep {recipe.name} was started with search.trials={before}, which can be raised and not lowered to "
            f"{recipe.search.trials}"
        )


def _search(recipe: Recipe, space: Space, ledger: Ledger, tracker: Tracker) -> BaseException | None:
    """Have all trials that have not ended end; return what one has failed of last.

    Trials whose process was lost are left by Ray Tune, and begun again when the others have ended.
    """
    if ledger.entries and ledger.remaining():
        log.info("resuming sweep %s", recipe.name)
    if before := len(ledger.ended()):
        best = best_of(ledger, recipe.search.mode)
        reached = "" if best is None else f", best {recipe.search.metric} {best:.4g}"
        log.info("%d of %d trials ended before%s", before, ledger.trials, reached)
    error = None
    while ledger.remaining():
        callback = sweep_callback(recipe, tracker.uri, tracker.run_id, ledger)
        with tempfile.TemporaryDirectory(prefix="marey-sweep-") as scratch, stoppable(recipe.name):
            _tuner(recipe, space, ledger, tracker.run_id, callback, scratch).fit()
        error = callback.error or error
    return error


def _tuner(recipe: Recipe, space: Space, ledger: Ledger, parent: str, callback: Callback, scratch: str) -> Tuner:
    """Return what runs the trials that have not ended; what it saves itself goes to a folder that is not kept."""
    from ray import tune as ray_tune

    from pipelines.tune.schedulers import make_scheduler
    from pipelines.tune.search import make_search

    search = recipe.search
    # A worker has another working folder and not our environment.
    environment = {"MAREY_WORK": workspace(), "MLFLOW_TRACKING_URI": tracking_uri(workspace())}

    def trial(what: dict[str, Any]) -> None:
        run_trial(recipe, what, parent, environment)

    return ray_tune.Tuner(
        ray_tune.with_resources(trial, trial_resources(recipe.compute, capacity.current_resources())),
        tune_config=ray_tune.TuneConfig(
            metric=search.metric,
            mode=search.mode,
            num_samples=ledger.remaining(),
            search_alg=make_search(search, space, concurrent_trials(recipe, capacity.max_resources()), ledger),
            scheduler=make_scheduler(recipe, ledger.ended()),
            trial_dirname_creator=lambda trial: str(trial.config[TRIAL]),
            reuse_actors=True,  # with all that is imported there
        ),
        run_config=ray_tune.RunConfig(name=recipe.name, storage_path=scratch, verbose=0, callbacks=[callback]),
    )


def _conclude(
    recipe: Recipe,
    ledger: Ledger,
    error: BaseException | None,
    folder: SweepFolder,
    tracker: Tracker,
    space: Space,
) -> TuneResult:
    outcomes = ranked(ledger.outcomes(), recipe.search.mode)
    best = outcomes[0]
    failed = sum(one.status == "failed" for one in outcomes)
    if best.score is None:
        raise UserError(
            f"every trial of sweep {recipe.name} failed; the first error: {best.reason} (Ray Tune's log: {folder.log})"
        ) from error
    for one in outcomes:  # some were stopped: only now are their processes gone for certain
        if one.status != "failed":
            state = RunFolder.of(one.name).read_state()
            assert state is not None  # it has reported
            end_finished(Tracker(tracker.uri, state.run_id), one)
    path = folder.write_best(recipes.dump(trial_recipe(recipe, best.values, f"{recipe.name}-best")))
    tracker.log_artifact(path)
    report(tracker, recipe, space, outcomes)
    return TuneResult(
        run_id=tracker.run_id,
        best=path,
        best_run=best.name,
        values=best.values,
        score=best.score,
        metric=recipe.search.metric,
        trials=len(outcomes),
        failed=failed,
        fields=list(space),
        ranking=outcomes,
        log=folder.log,
    )
