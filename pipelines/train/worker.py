"""What each worker of a training does: `tasks.learn.fit`, and what it needs around it."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.recipe import Recipe, view_settings
from pipelines.tracking import RunFolder
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.progress import ProgressWriter
from pipelines.tracking.system import outbox_of
from pipelines.train.checkpoints import Writer, newest
from pipelines.train.notices import Notices
from pipelines.train.trace import traced
from tasks.clips import ClipSettings
from tasks.words import counted

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.train.team import Team
    from tasks.data import Dataset
    from tasks.learn import Identity, Report
    from tasks.learn.batch import TrainingSource


@dataclass(frozen=True)
class Job:
    """What a worker needs to know."""

    recipe: Recipe
    identity: Identity
    clip: ClipSettings
    folder: RunFolder
    tracking_uri: str
    run_id: str
    started: float
    """When the MLflow run was made, in seconds since 1970."""
    drains: bool = False
    """Whether Ray announces machines that are taken away."""
    weights: Callable[[], dict[str, Tensor]] | None = None
    """Returns the tensors that the training starts from; None for none."""
    profile: int = 0
    """Steps of which a trace is kept."""


def work(config: dict[str, Any]) -> bool:
    """Train on one worker; Ray Train calls it on all of them, and again after a failure.

    Returns:
        Whether training came to its end: it does not where the user stops it.
    """
    from pipelines.train.ray_team import RayTeam

    job: Job = config["job"]
    if job.folder.read_state() is None:  # of a node that has joined since the driver asked all of them
        raise UserError(
            f"{socket.gethostname()} does not see the workspace with {job.folder.address}: mount it there under "
            "the same path, or give that machine the credentials"
        )
    try:
        return train_as_worker(job, RayTeam(job.folder), _open(job))
    except Exception as error:
        error.add_note(traceback.format_exc())  # Ray hands on the error without it
        raise


def train_as_worker(job: Job, team: Team, dataset: Dataset) -> bool:
    """Train as one worker of a team, from the last checkpoint; return whether training came to its end."""
    import torch

    from models import build, describe
    from models.common.weights import adopt
    from tasks.clips import ClipLoader, ViewLoader, views
    from tasks.learn import DivergedError, fit, host
    from tasks.learn.optim import smallest_share
    from tasks.seeds import seed

    recipe, settings = job.recipe, job.recipe.train
    is_first = team.place.rank == 0
    host.tune_allocator(threads=max(1, int(recipe.compute.cpus_per_worker)))
    validation = None
    if dataset.parts.get("val"):
        size = recipe.evaluate.batch_size
        clip = view_settings(job.clip, describe(recipe.model.name, recipe.model.options))
        validation = ViewLoader(dataset, "val", clip, views(1, 1), size, settings.loader_threads)
    torch.manual_seed(seed(settings.seed, "weights"))
    network = build(recipe.model.name, len(dataset.classes), stream=recipe.model.stream, **recipe.model.options)
    training: TrainingSource = ClipLoader(dataset, "train", job.clip, settings, smallest_share(network))
    reporter = _Reporter(job, team, sum(training.steps(epoch) for epoch in range(settings.epochs)))
    if is_first:
        reporter.progress = job.folder.write_progress()
    notices = Notices(job.folder, team, drains=job.drains, tell=reporter.note)
    with reporter.progress or nullcontext(), traced(training, job.profile if is_first else 0, job.folder) as training:
        checkpoint = reporter.newest_checkpoint()
        if job.weights is not None and checkpoint is None:
            adopt(network, job.weights(), str(recipe.model.weights))
        if is_first:
            job.folder.write_rank_0(os.getpid())
        box = outbox_of(team.place, job.folder.outbox, job.tracking_uri, job.run_id, job.started, reporter.note)
        with box as reporter.outbox:
            try:
                return fit(
                    network,
                    training,
                    validation,
                    settings,
                    reporter,
                    identity=job.identity,
                    device=team.device,
                    group=team.group,
                    resume=checkpoint,
                    wish=notices,
                )
            except DivergedError as error:
                raise DivergedError(f"{error}; {reporter.way_on()}") from error


def _open(job: Job) -> Dataset:
    """Open the dataset, which must be the one that the driver opened."""
    from tasks.data import open_dataset

    data = job.recipe.data
    dataset = open_dataset(data.dataset, split=data.split, fold=data.fold)
    if dataset.digest != job.identity.dataset_digest:
        raise UserError(
            f"{dataset.uri} was changed after this training had begun with it: put it back, or give the training "
            "another name"
        )
    return dataset


class _Reporter:
    """Passes the reports of the loop on: from rank 0 to MLflow and the console, from all ranks to the team."""

    def __init__(self, job: Job, team: Team, steps: int) -> None:
        self.job, self.team = job, team
        self.steps = steps
        self.outbox: Outbox | None = None
        self.progress: ProgressWriter | None = None
        self.writer = Writer(job.folder, job.recipe.train.keep_checkpoints, team)

    def newest_checkpoint(self) -> Path | None:
        """Return the checkpoint to go on from, the same on every rank."""
        name = None
        if self.team.place.rank == 0:
            name = newest(self.job.folder, self.note) or ""
            if name:
                workers = counted(self.team.size, "worker")
                self.note(f"going on with {workers} after step {self.job.folder.checkpoint_step(name)}")
                self._tell_changed(name)
        name = self.team.from_rank_0(name)
        return self.job.folder.checkpoint(name) if name else None

    def _tell_changed(self, name: str) -> None:
        """Say where this worker computes other bits than the one that made a checkpoint."""
        from tasks.learn.checkpoint import read_conditions
        from tasks.learn.conditions import conditions, tell_changed

        now = conditions(self.team.device)
        if line := tell_changed(read_conditions(self.job.folder.checkpoint(name)), now):
            self.note(line)

    def way_on(self) -> str:
        """Return how another training can go on from the last checkpoint, once that is written; the same on every rank.

        The other ranks wait for it: the first error that Ray Train hears of ends all of them.
        """
        words = None
        if self.team.place.rank == 0:
            self.writer.wait()
            names = self.job.folder.checkpoint_names()
            words = "there is no checkpoint from before"
            if names:
                place = self.job.folder.place(names[0])
                words = f"a training of another name goes on from the last checkpoint by --set model.weights={place}"
        return self.team.from_rank_0(words)

    def __call__(self, report: Report) -> None:
        values = {name: value + 0.0 for name, value in report.metrics.items()}  # without the sign of a zero
        if self.outbox is not None:
            self.outbox.add(values, report.step)
            if report.kind == "epoch":
                self.outbox.keep()  # before its checkpoint is: a start from there does not repeat these steps
        if self.progress is not None:
            self.progress.add(self._line(report, values))
        if report.kind == "epoch":
            self.writer.report({**values, "step": report.step}, report.checkpoint, report.step)

    def note(self, text: str) -> None:
        """Have the driver log a line; called on rank 0."""
        assert self.progress is not None
        self.progress.add({"kind": "note", "text": text})

    def _line(self, report: Report, values: dict[str, float]) -> dict[str, float | str]:
        """Return what the driver shows of a report."""
        return {
            "kind": report.kind,
            "time": time.time(),
            "epochs": self.job.recipe.train.epochs,
            "step": report.step,
            "steps": self.steps,
            **values,
        }
