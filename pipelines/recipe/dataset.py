"""The dataset that a recipe names: opened, and compared with what the recipe wants of it."""

from __future__ import annotations

import logging
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from models import describe
from models.common.description import SMALLEST
from pipelines.errors import UserError, did_you_mean
from pipelines.recipe.clips import published_clip
from pipelines.recipe.settings import WEIGHT_FILES, Recipe
from tasks.data import storage
from tasks.errors import first_ten
from tasks.learn.settings import TrainSettings
from tasks.learn.steps import smallest_size
from tasks.words import counted

if TYPE_CHECKING:
    from tasks.data import Dataset

log = logging.getLogger(__name__)


def refuse_impossible(recipe: Recipe) -> None:
    """Raise UserError where a training's resources do not suit its settings, whatever the dataset and the cluster."""
    amp = recipe.train.amp
    if amp != "off" and not recipe.compute.gpus_per_worker:
        raise UserError(
            f"train.amp={amp} needs GPUs and compute.gpus_per_worker is 0: set train.amp=off, or "
            "compute.gpus_per_worker=1"
        )
    workers, shares = recipe.compute.most, recipe.train.shares
    if workers > shares:
        raise UserError(
            f"compute.workers={workers} is more than the {counted(shares, 'share')} that a step is cut into: lower it, "
            "or raise train.micro_batches (for a new run: batch norm takes the statistics of a share)"
        )


def open_data(recipe: Recipe) -> Dataset:
    """Open a recipe's dataset by its split or fold; a file of initial weights must be there as well.

    Needs neither torch nor Ray.

    Raises:
        UserError: there is no such dataset, split, group or file; or as `tasks.data.open_dataset`.
    """
    from tasks.data.dataset import open_once

    uri, weights = recipe.data.dataset, recipe.model.weights
    if storage.is_local(uri) and not Path(uri).exists():
        raise UserError(f"data.dataset: {not_there(uri)}; `marey prepare` makes it")
    if weights and weights.endswith(WEIGHT_FILES) and storage.is_local(weights) and not Path(weights).is_file():
        raise UserError(f"model.weights: there is no file {not_there(weights)}")
    return open_once(uri, split=recipe.data.split, fold=recipe.data.fold)


def not_there(path: str) -> str:
    """Return a message about a recipe's local path, with the folder against which a relative one was read."""
    return f"{path} does not exist (relative paths of a recipe are read from the current folder, {Path.cwd()})"


def check_dataset(dataset: Dataset, recipe: Recipe) -> None:
    """Raise UserError where the dataset cannot train the recipe's network, ModelError where its options are wrong.

    What is only doubtful is logged.
    """
    refuse_small(recipe.input["size"], "input.size")
    _refuse_small_steps(recipe.input["size"], recipe.train)
    where = f"dataset {dataset.uri}" + (f", split {dataset.split}" if dataset.split else "")
    if not dataset.parts.get("train"):
        raise UserError(f"{where} has no train part: choose another data.split, or data.fold=group=NAME")
    stream, flow = recipe.model.stream, dataset.settings.flow != "none"
    if stream == "flow" and not flow:
        raise UserError(f"{where} holds no flow: prepare it with --flow tvl1, or set model.stream=rgb")
    seen = set(dataset.samples("train").label_ids.tolist())
    missing = [name for label_id, name in enumerate(dataset.classes) if label_id not in seen]
    if missing:
        raise UserError(
            f"{where} has no training videos of {first_ten(missing)}: choose another split, or add videos of these "
            "classes"
        )
    if recipe.train.patience and not dataset.parts.get("val"):
        raise UserError(
            f"{where} has no val part, which train.patience watches: choose another data.split, or set train.patience=0"
        )
    weights = recipe.train.class_weights
    if not isinstance(weights, str):
        for name in weights:
            if name not in dataset.classes:
                raise UserError(
                    f"train.class_weights: no class of {where} is {name!r}{did_you_mean(name, dataset.classes)}"
                )
    network = describe(recipe.model.name, recipe.model.options)
    if network.training_clip(stream).get("target") == "flow" and not flow:
        raise UserError(f"{where} holds no flow, which {network.name} learns to predict: prepare it with --flow tvl1")
    if len(dataset.classes) == 1:
        log.warning("%s has one class, %s: any network is right about it", where, dataset.classes[0])
    if stream in network.streams:
        warn_if_enlarged(recipe.input["size"] or published_clip(network, stream).size, dataset, "input.size")


def _refuse_small_steps(size: int | None, train: TrainSettings) -> None:
    """Raise UserError where multigrid training makes clips of a given size too small for any network."""
    factor = smallest_size(train)
    if size is not None and (smallest := round(size * factor)) < SMALLEST:
        raise UserError(
            f"train.multigrid={train.multigrid} makes clips of {size} x {size} pixels as small as {smallest} x "
            f"{smallest}, and a network takes at least {SMALLEST} x {SMALLEST}: set input.size="
            f"{ceil(SMALLEST / factor)} or more, or train.multigrid=off"
        )


def refuse_small(size: int | None, setting: str) -> None:
    """Raise UserError where clips of a given size are too small for any network."""
    if size is not None and size < SMALLEST:
        raise UserError(f"{setting}={size}: a network takes clips of at least {SMALLEST} x {SMALLEST} pixels")


def warn_if_enlarged(size: int, dataset: Dataset, setting: str) -> None:
    """Log a warning where clips have more pixels than the prepared frames."""
    short_side = dataset.settings.short_side
    if size > short_side:
        log.warning(
            "clips of %d pixels are enlarged from frames of %d in %s: set %s=%d, or prepare the videos with "
            "--short-side %d",
            *(size, short_side, dataset.uri, setting, short_side, size),
        )
