"""One trial of a sweep: a training in a process of Ray Tune, or by workers of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from models.common.errors import ModelError
from pipelines import recipe as recipes
from pipelines.compute import capacity
from pipelines.errors import UserError, user_error
from pipelines.recipe import ComputeSettings, Recipe, check_dataset, open_data, refuse_impossible
from pipelines.tracking import RunFolder, Tracker, tracking_uri, workspace
from pipelines.tracking.patience import OUTAGE_S, outlast
from pipelines.train import train
from pipelines.tune.ledger import TRIAL, VALUES, trial_name
from pipelines.tune.outcome import differs, reason_of


def trial_resources(compute: ComputeSettings, have: Mapping[str, float]) -> dict[str, float]:
    """Return what the process of a trial holds: one worker trains in it, several have processes of their own.

    Those hold the CPUs: a trial's driver that held one too would deadlock small clusters. Tune does not accept an empty
    request, hence one byte of memory. Where the cluster marks machines as kept, the driver goes there: lost with a spot
    machine, it would take with it workers on all others.

    Args:
        compute: the recipe's.
        have: resources of the cluster as it is now.
    """
    if compute.workers == 1:
        return {kind.lower(): number for kind, number in capacity.worker_resources(compute).items()}
    kept = {capacity.ON_DEMAND: 0.001} if have.get(capacity.ON_DEMAND) else {}
    return {"cpu": 0, "memory": 1, **kept}


def trial_recipe(recipe: Recipe, point: Mapping[str, Any], name: str) -> Recipe:
    """Return the recipe of one trial."""
    return recipes.replaced(recipe, {**point, "name": name})


def run_trial(recipe: Recipe, trial: Mapping[str, Any], parent_run_id: str, environment: Mapping[str, str]) -> None:
    """Train one point of the search; runs in a process of Ray Tune, which holds the CPUs of a single worker.

    A failure that would come again is a result: it is noted, and the trial ends for Ray Tune as any other.
    """
    os.environ.update(environment)
    folder, values = RunFolder.of(trial_name(recipe.name, trial[TRIAL])), trial[VALUES]
    if folder.read_failure() is not None:  # of an earlier start, which was killed before it had noted the outcome
        return
    dataset = open_data(recipe)
    try:
        own = trial_recipe(recipe, values, folder.name)
        refuse_impossible(own)
        check_dataset(dataset, own)
    except (UserError, ModelError) as error:
        folder.write_failure(reason_of(error))
        return
    _report_earlier(recipe.search.metric, folder)
    try:
        _train(recipe, own, folder, parent_run_id, differs(values))
    except Exception as error:
        if not is_final(error):
            raise
        folder.write_failure(reason_of(error))


def is_final(error: BaseException) -> bool:
    """Return whether a training would fail of the same again: of its values, not of where or when it runs."""
    from tasks.learn.divergence import DivergedError

    return isinstance(user_error(error), DivergedError | ModelError)


def _train(recipe: Recipe, own: Recipe, folder: RunFolder, parent_run_id: str, what: str) -> None:
    """Train a trial's own recipe, and report to Ray Tune."""
    if recipe.compute.workers == 1:
        train(own, parent_run_id=parent_run_id, on_report=_reporter(recipe.search.metric), differs=what)
    else:
        callback = _callback(recipe.search.metric, folder)
        train(own, parent_run_id=parent_run_id, callbacks=(callback,), differs=what)


def _report_earlier(metric: str, folder: RunFolder) -> None:
    """Report what an earlier start of the trial has reached: the sweep notes a trial's epochs when it has ended.

    A trial whose end it could not note is started again, and trains nothing.
    """
    from ray import tune as ray_tune

    state = folder.read_state()
    if state is None:
        return
    tracker = Tracker(tracking_uri(workspace()), state.run_id)
    points = outlast(lambda: tracker.read_points([metric, "epoch"]), OUTAGE_S)
    epochs = {point.step: point.value for point in points["epoch"]}
    for point in points[metric]:
        if point.step in epochs:
            ray_tune.report({metric: point.value, "epoch": epochs[point.step], "step": point.step})


def _reporter(metric: str) -> Callable[[Mapping[str, float]], None]:
    """Return what passes the reports that hold the metric on to Ray Tune; those within an epoch do not."""
    from ray import tune as ray_tune

    def report(metrics: Mapping[str, float]) -> None:
        if metric in metrics:
            ray_tune.report(dict(metrics))

    return report


def _callback(metric: str, folder: RunFolder) -> Any:
    """Return what does so from the controller of a Ray Train."""
    import ray
    from ray.tune.integration.ray_train import TuneReportCallback

    class Report(TuneReportCallback):
        noted = False

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            if not self.noted:
                folder.write_controller(str(ray.get_runtime_context().get_actor_id()))
                self.noted = True
            if metric in metrics[0]:
                super().after_report(run_context, metrics, checkpoint)

    return Report()  # type: ignore[no-untyped-call]
