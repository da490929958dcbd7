"""`marey train`: one training by Ray Train, from a recipe to a tracked and registered network."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster.attach import attach
from pipelines import recipe as recipes
from pipelines.compute import capacity
from pipelines.errors import UserError
from pipelines.recipe import Recipe, check_dataset, clip_settings, open_data
from pipelines.tracking import RunFolder, Tracker, load_network, open_store, workspace
from pipelines.tracking.machines import refuse_unshared
from pipelines.tracking.run_folder import Result, State
from pipelines.tracking.workspace import ray_storage
from pipelines.train.console import Console
from pipelines.train.initial_weights import load_initial_weights
from pipelines.train.stopping import Stopping
from pipelines.train.waiting import Waiting
from pipelines.train.worker import SCORE, Job, work
from tasks.words import counted

log = logging.getLogger(__name__)

NOTED = (
    "val/top1_percent",
    "val/top5_percent",
    "val/mean_class_percent",
    "val/loss",
    "train/top1_percent",
    "train/loss",
)
"""Metrics of the checkpoint that stand at the head of the run's page."""
PREEMPTION_GRACE_S = 5.0
"""Time after the deadline of a machine that is taken away before the others start anew, so that it is gone by then."""
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
    callbacks: tuple[Any, ...] = (),
) -> TrainResult:
    """Train a recipe's network; an interrupted run of the same name is resumed.

    Args:
        recipe: a recipe, its file, or the name of a built-in one.
        overrides: values of the recipe's fields, such as `{"train.lr": 0.02}`.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.
        parent_run_id: MLflow run of the sweep that this is a trial of; trials are not registered as models.
        callbacks: callbacks of Ray Train, such as a trial's report to Ray Tune.

    Raises:
        UserError: the dataset or the cluster does not suit the recipe, or a run of this name had another recipe.
    """
    recipe = recipes.load(recipe, overrides)
    dataset = open_data(recipe)
    recipe = replace(recipe, prepare=dataset.settings)
    folder = RunFolder.of(recipe.name)
    state = folder.matching_state(recipes.to_dict(recipe), dataset.digest, SECTIONS)
    if state and state.result:
        log.info("run %s has already finished; this is its result (to train anew, choose another name)", recipe.name)
        return _train_result(folder, state, state.result, finished_before=True)
    check_dataset(dataset, recipe)
    uri = open_store(workspace())
    attach(address)  # seconds, like torch: what can be refused without them has been
    capacity.refuse_too_large(recipe.compute)
    refuse_unshared(uri)
    folder.make()
    clip = clip_settings(recipe, dataset.classes)
    has_val = bool(dataset.parts.get("val"))
    if state:
        log.info("resuming run %s", recipe.name)
    if not has_val:
        log.info("the dataset has no val part: the result is the last checkpoint, not the best one")
    start = load_initial_weights(recipe.model, len(dataset.classes))
    tracker = Tracker.start(
        workspace(),
        recipe.name,
        params=recipes.to_dict(recipe),
        tags={
            "model": recipe.model.name,
            "stream": recipe.model.stream,
            "checkpoint": "best by val/top1_percent" if has_val else "last (the dataset has no val part)",
            **(start.tags if start else {}),
        },
        parent_run_id=parent_run_id,
        run_id=state.run_id if state else None,
    )
    from tasks.learn import Identity

    with tracker:
        if state is None:
            tracker.log_dataset(recipe.data.dataset, dataset.digest)
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
            drains=capacity.count_machines() > 1 or recipe.compute.fewest < recipe.compute.most,
            weights=start and start.put(),
        )
        checkpoint, metrics = _fit(job, has_val, callbacks, progress)
        result = Result(
            checkpoint=checkpoint,
            metrics=metrics,
            chosen=f"best of the val part, at epoch {metrics['epoch']:g}" if has_val else "last: no val part",
        )
        _publish(tracker, job, result, register=parent_run_id is None)
        folder.write_state(state.with_result(result))
    return _train_result(folder, state, result)


def _fit(job: Job, has_val: bool, callbacks: tuple[Any, ...], progress: bool) -> tuple[str, dict[str, float]]:
    """Run the workers to the end; return the name of the chosen checkpoint and its metrics."""
    # Ray Train polls its workers every two seconds by default, and each report waits for that.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "2")
    # Room is sometimes counted on a machine that has just gone: Ray then waits this long before it counts again.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "30")
    if not job.drains:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process per training
    import ray.train
    from ray.exceptions import RayActorError
    from ray.train.torch import TorchTrainer

    from pipelines.train.rendezvous import NodeAddresses

    compute = job.recipe.compute
    trainer = TorchTrainer(
        work,  # type: ignore[arg-type]
        train_loop_config={"job": job},
        torch_config=NodeAddresses(),
        scaling_config=ray.train.ScalingConfig(  # type: ignore[call-arg]
            num_workers=compute.workers,  # type: ignore[arg-type]
            elastic_resize_monitor_interval_s=compute.resize_every_s,
            use_gpu=compute.gpus_per_worker > 0,
            resources_per_worker=capacity.worker_resources(compute),
        ),
        run_config=ray.train.RunConfig(
            name=job.folder.name,
            **ray_storage(job.folder.address.rpartition("/")[0]),
            failure_config=ray.train.FailureConfig(  # type: ignore[call-arg]
                max_failures=compute.max_failures, preemption_grace_s=PREEMPTION_GRACE_S
            ),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=job.recipe.train.keep_checkpoints + 1,
                checkpoint_score_attribute=SCORE if has_val else None,
            ),
            callbacks=list(callbacks),
        ),
    )
    job.folder.clear_refusal()
    console = Console(job.folder) if progress else nullcontext()
    with Waiting(compute) as waiting, Stopping(job.folder) as stopping, console:
        try:
            result = stopping.run(trainer.fit, waiting.are_workers_running)
        except RayActorError as error:
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"Ray's controller of the training has ended ({why}): the same command goes on from the last checkpoint"
            ) from error
    if result.return_value is False:  # type: ignore[attr-defined]
        raise KeyboardInterrupt(f"stopped with a checkpoint; the same command goes on with {job.folder.name}")
    if has_val:
        chosen, metrics = max(result.best_checkpoints or [], key=lambda pair: (pair[1][SCORE], pair[1]["step"]))
    else:
        assert result.checkpoint is not None  # every epoch reports one
        chosen, metrics = result.checkpoint, result.metrics or {}
    return chosen.path.rpartition("/")[2], {key: value for key, value in metrics.items() if key != SCORE}


def _publish(tracker: Tracker, job: Job, result: Result, *, register: bool) -> None:
    """Store recipe, curves and network with the run."""
    from pipelines.tracking.plots import curves
    from tasks.clips.augment import clip_shape
    from tasks.learn.checkpoint import DOCUMENT_FILE, WEIGHTS_FILE

    recipe, checkpoint = job.recipe, job.folder.checkpoint(result.checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        text, picture = Path(scratch, "recipe.yaml"), Path(scratch, "curves.png")
        text.write_text(recipes.dump(recipe))
        curves(tracker.read_history(), f"{recipe.name}: {recipe.model.name}, {recipe.model.stream}", picture)
        tracker.log_artifact(text)
        tracker.log_artifact(picture)
    for name in (DOCUMENT_FILE, WEIGHTS_FILE):  # the optimiser's state serves a resume only
        tracker.log_artifact(checkpoint / name, "checkpoint")
    tracker.set_note(_note(job, result))
    if register:
        import torch

        clips = torch.zeros(2, *clip_shape(job.clip))
        tracker.log_model(load_network(job.identity, checkpoint), clips, recipe.name, "best")


def _note(job: Job, result: Result) -> str:
    recipe, metrics = job.recipe, result.metrics
    split = recipe.data.fold or recipe.data.split
    lines = [
        f"**{recipe.model.name}** on {recipe.model.stream} of `{Path(recipe.data.dataset).name}`"
        + (f" ({split})" if split else "")
        + f", {counted(len(job.identity.classes), 'class')}, {counted(recipe.train.epochs, 'epoch')}.",
        f"Checkpoint: {result.chosen}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {metrics[key]:.4g} |" for key in NOTED if key in metrics),
    ]
    return "\n".join(lines)


def _train_result(folder: RunFolder, state: State, result: Result, *, finished_before: bool = False) -> TrainResult:
    checkpoint = folder.checkpoint(result.checkpoint)
    return TrainResult(state.run_id, folder.name, checkpoint, result.metrics, result.chosen, finished_before)
