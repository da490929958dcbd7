"""`marey train`: one training, from a recipe to a tracked and registered network."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.attach import attach, is_alone
from cluster.interrupt import end_by_interrupt
from pipelines import recipe as recipes
from pipelines.compute import capacity
from pipelines.recipe import Recipe, check_dataset, clip_settings, open_data, refuse_impossible
from pipelines.tracking import RunFolder, Tracker, claim, masked, open_store, workspace
from pipelines.tracking.machines import refuse_unshared
from pipelines.tracking.patience import OUTAGE_S, outlast
from pipelines.tracking.run_list import about
from pipelines.tracking.state import Result, State
from pipelines.train.checkpoints import best, early_end
from pipelines.train.console import Console
from pipelines.train.initial_weights import load_initial_weights
from pipelines.train.publish import log_inputs, publish
from pipelines.train.worker import Job

if TYPE_CHECKING:
    from tasks.data import Dataset
    from tasks.data.lock import Lock

log = logging.getLogger(__name__)

SECTIONS = ("model", "input", "train", "prepare")
"""Sections of the recipe that a later start of the same name must leave as they were."""


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a training."""

    run_id: str
    run_name: str
    checkpoint: Path
    """Its folder on this machine: where the workspace is at an address, a copy in the cache."""
    metrics: dict[str, float]
    """Metrics of the checkpoint."""
    chosen: str
    """Why this checkpoint."""
    finished_before: bool = False
    """Whether the run of this name had finished before, so that nothing was trained."""


def train(
    recipe: Recipe | str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    address: str | None = None,
    progress: bool = True,
    parent_run_id: str | None = None,
    on_report: Callable[[Mapping[str, float]], None] | None = None,
    callbacks: tuple[Any, ...] = (),
    profile: int = 0,
    differs: str = "",
) -> TrainResult:
    """Train a recipe's network; an interrupted run of the same name is resumed.

    Args:
        recipe: a recipe, its file, or the name of a built-in one.
        overrides: values of the recipe's fields, such as `{"train.lr": 0.02}`.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.
        parent_run_id: MLflow run of the sweep that this is a trial of; trials are not registered as models.
        on_report: called with the metrics of each epoch and checkpoint; one worker then trains in this process, on a
            cluster too, as in a trial of a sweep.
        callbacks: callbacks of Ray Train for several workers.
        profile: steps of which a trace is kept with the run, `trace.json.gz`; 0 for none.
        differs: what sets a trial apart from others of its sweep, for the tags and the description of its MLflow run.

    Raises:
        UserError: the dataset or the cluster does not suit the recipe, or a run of this name had another recipe.
    """
    recipe = recipes.load(recipe, overrides)
    refuse_impossible(recipe)
    dataset = open_data(recipe)
    recipe = replace(recipe, prepare=dataset.settings, train=recipe.train.resolved())
    folder = RunFolder.of(recipe.name)

    def earlier() -> State | None:
        return folder.matching_state(recipes.to_dict(recipe), dataset.digest, SECTIONS)

    state = earlier()
    if state is None or state.result is None or folder.is_unpublished():
        check_dataset(dataset, recipe)
        wait = OUTAGE_S if parent_run_id else 0.0  # nobody would give the command of a trial again
        (claim.outlast_other if parent_run_id else claim.refuse_held)(folder.address)
        uri = outlast(lambda: open_store(workspace(), recipe.experiment), wait)
        alone = recipe.compute.workers == 1 and (on_report is not None or is_alone(address))
        if alone:
            capacity.refuse_too_large_alone(recipe.compute)
            end_by_interrupt()
        else:
            attach(address)  # seconds, like torch: what can be refused without them has been
            capacity.refuse_too_large(recipe.compute)
            refuse_unshared(uri)
        folder.make()
        with _only_driver(folder) as lock:
            state = earlier()
            if state is None or state.result is None or folder.is_unpublished():
                how = _How(alone, parent_run_id, wait, on_report, callbacks, progress, profile, differs)
                return _train(recipe, dataset, folder, state, lock, how)
    assert state.result is not None
    log.info("run %s has already finished; this is its result (to train anew, choose another name)", recipe.name)
    return _train_result(folder, state, state.result, finished_before=True)


@dataclass(frozen=True)
class _How:
    """What an attempt at a training is told beside its recipe."""

    alone: bool
    """Whether it trains in this process, without Ray."""
    parent_run_id: str | None
    wait_s: float
    """How long MLflow may be away."""
    on_report: Callable[[Mapping[str, float]], None] | None
    callbacks: tuple[Any, ...]
    progress: bool
    profile: int
    differs: str


def _train(
    recipe: Recipe,
    dataset: Dataset,
    folder: RunFolder,
    state: State | None,
    lock: Lock,
    how: _How,
) -> TrainResult:
    """Train from where an earlier start stopped, and give MLflow the result; the folder is this driver's alone."""
    from tasks.clips.augment import clip_shape
    from tasks.learn import Identity

    clip = clip_settings(recipe, dataset.classes)
    has_val = bool(dataset.parts.get("val"))
    trained = state is not None and state.result is not None
    if state:
        log.info("resuming run %s", recipe.name)
    if not has_val:
        log.info("the dataset has no val part: the result is the last checkpoint, not the best one")
    start = None if trained else load_initial_weights(recipe.model, len(dataset.classes))
    frames, height, width = clip_shape(clip)[1:]
    what = how.differs or f"{recipe.model.name} {recipe.model.stream} {frames}x{height}x{width}"
    tags = {
        **about(what, recipe.data.dataset, recipe.data.fold or recipe.data.split),
        "model": recipe.model.name,
        "stream": recipe.model.stream,
        "checkpoint": "best by val/top1_percent" if has_val else "last (the dataset has no val part)",
        **(start.tags if start else {}),
        **({"trial": how.differs, "mlflow.note.content": how.differs} if how.differs else {}),
    }
    tracker = outlast(
        lambda: Tracker.start(
            workspace(),
            recipe.name,
            params=recipes.to_dict(recipe),
            tags=tags,
            key=claim.own_key(folder),
            parent_run_id=how.parent_run_id,
            run_id=state.run_id if state else None,
            experiment=recipe.experiment,
        ),
        how.wait_s,
    )
    with tracker, masked(workspace()):
        if state is None:
            outlast(lambda: log_inputs(tracker, recipe, dataset.digest), how.wait_s)
            state = State(tracker.run_id, dataset.digest, recipes.to_dict(recipe))
            folder.write_state(state)
        identity = Identity(
            model=recipe.model.name,
            stream=recipe.model.stream,
            options=recipe.model.options,
            classes=list(dataset.classes),
            recipe=recipes.to_dict(recipe),
            dataset_digest=dataset.digest,
            run_id=tracker.run_id,
            clip=asdict(clip),
        )
        job = Job(
            recipe,
            identity,
            clip,
            folder,
            tracker.uri,
            tracker.run_id,
            outlast(tracker.started, how.wait_s),
            drains=not how.alone and (capacity.count_machines() > 1 or recipe.compute.fewest < recipe.compute.most),
            weights=start.given(how.alone) if start else None,
            profile=how.profile,
        )
        result = state.result
        if result is None:
            _fit(job, dataset, how)
            lock.confirm()
            checkpoint, metrics = best(folder, log.warning)
            chosen = f"best of the val part, at epoch {metrics['epoch']:g}" if has_val else "last: no val part"
            result = Result(checkpoint, metrics, chosen + early_end(folder, recipe.train.epochs))
            folder.write_unpublished()
            state = state.with_result(result)
            folder.write_state(state)
        outlast(lambda: publish(tracker, job, result, register=how.parent_run_id is None, head=how.differs), how.wait_s)
    folder.clear_unpublished()
    return _train_result(folder, state, result)


@contextmanager
def _only_driver(folder: RunFolder) -> Iterator[Lock]:
    """Keep other drivers out of a run's folder; one that loses it nevertheless is interrupted."""
    main = threading.current_thread() is threading.main_thread()
    with claim.hold(folder.address, lost=(lambda: os.kill(os.getpid(), signal.SIGINT)) if main else None) as lock:
        try:
            yield lock
        except KeyboardInterrupt:
            lock.check()
            raise


def _fit(job: Job, dataset: Dataset, how: _How) -> None:
    """Run the workers to the end."""
    job.folder.clear_remains()
    console = Console(job.folder) if how.progress else nullcontext()
    if how.alone:
        from pipelines.train.alone import fit_alone

        ended = fit_alone(job, dataset, how.on_report, console)
    else:
        from pipelines.train.by_ray import fit_by_ray

        ended = fit_by_ray(job, how.callbacks, console)
    if not ended:
        raise KeyboardInterrupt(f"stopped with a checkpoint; the same command goes on with {job.folder.name}")


def _train_result(folder: RunFolder, state: State, result: Result, *, finished_before: bool = False) -> TrainResult:
    checkpoint = folder.checkpoint(result.checkpoint)
    return TrainResult(state.run_id, folder.name, checkpoint, result.metrics, result.chosen, finished_before)
