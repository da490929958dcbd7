"""What MLflow gets of a training beside its metrics: what it is made from, its curves, its networks."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cluster.errors import ClusterError
from cluster.waiting import waiting
from pipelines import recipe as recipes
from pipelines.recipe import Recipe
from pipelines.tracking import Tracker, load_network, outbox
from pipelines.tracking.find_run import CHECKPOINT, RECIPE
from pipelines.tracking.registry import NETWORK
from pipelines.tracking.results_table import with_results
from pipelines.tracking.run_list import GMACS, PARAMETERS, dataset_name
from pipelines.tracking.state import Result
from pipelines.train.worker import Job
from tasks.words import counted

TIED = ("val/", "train/")
"""Metrics of a checkpoint that are tied to its model in MLflow."""
CROWNING = "val/top1_percent"
"""Metric by which a version becomes champion of a registered model."""


def log_inputs(tracker: Tracker, recipe: Recipe, digest: str) -> None:
    """Log what a run is made from, so that MLflow alone knows how to repeat it."""
    tracker.log_dataset(recipe.data.dataset, digest)
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch, RECIPE)
        text.write_text(recipes.dump(recipe))
        tracker.log_artifact(text)


def publish(tracker: Tracker, job: Job, result: Result, *, register: bool, head: str = "") -> None:
    """Give MLflow what the run has come to, and end it there; each step may have been done by an interrupted start.

    Args:
        tracker: the run.
        job: what was trained.
        result: what it has come to.
        register: whether the network is registered.
        head: first line of the run's description.

    Raises:
        ClusterError: MLflow's store is away; says what is left, and how it is sent.
    """
    try:
        with waiting("MLflow, which gets the curves, the checkpoints and the network"):
            outbox.send_rest(job.folder.outbox, tracker.uri, tracker.run_id)
            _store_result(tracker, job, result, head)
            if register:
                store_networks(tracker, job, result)
            tracker.end("FINISHED")
    except ClusterError as error:
        left = outbox.count(job.folder.outbox)
        raise ClusterError(
            f"run {job.recipe.name} is trained, and its checkpoint is {job.folder.place(result.checkpoint)}, but "
            f"MLflow has not got all of it ({f'{left} points of its metrics and ' * bool(left)}its result wait "
            f"in {job.folder.address}): {error}; then the same command sends what is left"
        ) from error


def _store_result(tracker: Tracker, job: Job, result: Result, head: str) -> None:
    """Store curves, checkpoint, the trace if there is one, and a summary with the run."""
    from pipelines.tracking.plots import curves

    recipe = job.recipe
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch, "curves.png")
        curves(tracker.read_history(), f"{recipe.name}: {recipe.model.name}, {recipe.model.stream}", picture)
        tracker.log_artifact(picture)
        if (content := job.folder.read_trace()) is not None:
            trace = Path(scratch, job.folder.TRACE)
            trace.write_bytes(content)
            tracker.log_artifact(trace)
    for file in _shared_files(job.folder.checkpoint(result.checkpoint)):
        tracker.log_artifact(file, CHECKPOINT)
    tracker.set_note("\n\n".join(filter(None, [head, _note(job, result)])))


def store_networks(tracker: Tracker, job: Job, result: Result) -> None:
    """Register the network, and log each checkpoint that is kept as a model, with its metrics and their dataset."""
    import torch

    from tasks.clips.augment import clip_shape

    recipe, digest = job.recipe, job.identity.dataset_digest
    kind, params = recipe.model.name, {"model": asdict(recipe.model), "train": asdict(recipe.train)}
    network = load_network(job.identity, job.folder.checkpoint(result.checkpoint))
    tracker.log_model(network, torch.zeros(2, *clip_shape(job.clip)), recipe.name, model_type=kind, params=params)
    tracker.describe_version(recipe.name, summary(recipe, accuracy(result.metrics)))
    points = [point for key, line in tracker.read_points().items() if key.startswith(TIED) for point in line]
    for name, step in job.folder.kept_checkpoints().items():
        chosen = name == result.checkpoint
        if not chosen:
            tracker.log_checkpoint(name, _shared_files(job.folder.checkpoint(name)), model_type=kind, params=params)
        at = [point for point in points if point.step == step]
        tracker.tie_metrics(NETWORK if chosen else name, at, recipe.data.dataset, digest)
    tracker.log_constants(_cost(job))
    if CROWNING in result.metrics:
        tracker.crown(recipe.name, CROWNING, result.metrics[CROWNING], digest)


def _cost(job: Job) -> dict[str, float]:
    """Return the size of the network, and what one view of a video costs it."""
    import torch

    from models import build
    from models.common.cost import cost, parameters
    from tasks.clips.augment import clip_shape

    identity = job.identity
    with torch.device("meta"):  # shapes are enough, and take a fraction of a second
        network = build(identity.model, len(identity.classes), stream=identity.stream, **identity.options).deploy()
        macs = cost(network, torch.empty(1, *clip_shape(job.clip))).macs
    return {GMACS: _rounded(macs / 1e9), PARAMETERS: _rounded(parameters(network) / 1e6)}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _shared_files(checkpoint: Path) -> list[Path]:
    """Return the files of a checkpoint for others; the optimiser's state serves a resume only."""
    from tasks.learn.checkpoint import DOCUMENT_FILE, WEIGHTS_FILE

    return [checkpoint / name for name in (DOCUMENT_FILE, WEIGHTS_FILE)]


def summary(recipe: Recipe, percent: Mapping[str, float]) -> str:
    """Return what a network is in a few words, its top-1 accuracies by part first, as tables show no more."""
    data = dataset_name(recipe.data.dataset, recipe.data.fold or recipe.data.split)
    shown = ", ".join(f"{part} {value:.1f} %" for part, value in percent.items())
    return f"{f'{shown} top-1, ' * bool(shown)}{recipe.model.name} on {recipe.model.stream} of {data}"


def accuracy(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the accuracy of a checkpoint on the val part, if there is one."""
    return {"val": metrics[CROWNING]} if CROWNING in metrics else {}


def _note(job: Job, result: Result) -> str:
    recipe, metrics = job.recipe, result.metrics
    classes, epochs = counted(len(job.identity.classes), "class"), counted(recipe.train.epochs, "epoch")
    head = f"{summary(recipe, accuracy(metrics))}; {classes}, {epochs}, checkpoint: {result.chosen}."
    rows = {part: {key.removeprefix(f"{part}/"): metrics[key] for key in metrics} for part in ("val", "train")}
    return with_results(head, {part: row for part, row in rows.items() if "loss" in row})
