"""The training loop: plain torch, on one worker or many, with or without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from tasks.learn import checkpoint, laps, parallel
from tasks.learn.agreement import refuse_different_weights
from tasks.learn.batch import TrainingSource, ValidationSource
from tasks.learn.checkpoint import Identity, Position, Snapshot, State
from tasks.learn.class_weights import class_weights
from tasks.learn.conditions import deterministic
from tasks.learn.schedule import epochs_at, lr_at
from tasks.learn.score import measure, score
from tasks.learn.settings import TrainSettings
from tasks.learn.update import Updates


@dataclass(frozen=True)
class Report:
    """What the loop reports to its caller."""

    kind: Literal["step", "epoch"]
    """"step" is reported on rank 0 only; "epoch" on every rank, also for checkpoints within an epoch."""
    epoch: int
    """Finished epochs."""
    step: int
    """Steps taken since the start."""
    metrics: dict[str, float]
    """The same on every rank. `train/*` and `workers/*` cover the steps since the previous report."""
    checkpoint: Snapshot | None = None
    """On rank 0 only; the caller may write it while training goes on."""


Wish = Literal["go", "save", "stop"]
"""What the caller wants after a step: nothing, a checkpoint, or a checkpoint and the end."""


def _go_on(step: int) -> Wish:
    return "go"


@dataclass
class _Window:
    """Sums since the last report."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    read: int = 0
    """Clips read by all ranks, held-out halves included."""
    waited_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, sums: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


def fit(
    network: nn.Module,
    training: TrainingSource,
    validation: ValidationSource | None,
    settings: TrainSettings,
    report: Callable[[Report], None],
    *,
    identity: Identity,
    device: torch.device | str = "cpu",
    group: ProcessGroup | None = None,
    resume: Path | None = None,
    checkpoints: bool = True,
    wish: Callable[[int], Wish] = _go_on,
) -> bool:
    """Train a network and report progress; return whether training came to its end, which may be an early one.

    Call it on every rank of `group` (None: one worker). `resume` is a checkpoint folder that every rank can read;
    training continues from it bit for bit, as if it had never stopped. Without `checkpoints` there are none in the
    reports.
    `wish` is asked after every step, by its number, and answers alike on every rank.
    Raises DivergedError if loss, gradient or a weight is no longer finite, and UserError if a setting does not suit the
    device.
    """
    with deterministic(settings.deterministic):
        loop = _Loop(network, training, settings, report, identity, torch.device(device), group, checkpoints, wish)
        if resume is not None:
            loop.position = checkpoint.resume(resume, loop.state(), identity)
        loop.updates.wrap()
        try:
            while loop.position.epoch < settings.epochs and not loop.is_out_of_patience():
                if not loop.train_epoch():
                    return False
                epoch = loop.position.epoch
                metrics = loop.window_metrics() | loop.epoch_times()
                if validation is not None and (epoch % settings.validate_every == 0 or epoch == settings.epochs):
                    metrics |= loop.validate(validation)
                    loop.judge(metrics)
                loop.report_checkpoint(metrics)
            return True
        finally:
            del loop
            parallel.release(group)


class _Loop:
    """State of one `fit`."""

    def __init__(
        self,
        network: nn.Module,
        training: TrainingSource,
        settings: TrainSettings,
        report: Callable[[Report], None],
        identity: Identity,
        device: torch.device,
        group: ProcessGroup | None,
        checkpoints: bool,
        wish: Callable[[int], Wish],
    ) -> None:
        weights = None
        if settings.class_weights != "off":
            weights = class_weights(settings.class_weights, identity.classes, training.label_counts())
        self.updates = Updates(network, settings, device, group, weights)
        self.network = self.updates.network
        self.training, self.settings, self.report = training, settings, report
        self.identity, self.device, self.group, self.checkpoints = identity, device, group, checkpoints
        self.wish = wish
        self.rank, self.world = parallel.rank_and_world(group)
        self.starts = [0, *accumulate(training.steps(epoch) for epoch in range(settings.epochs))]
        """Steps before each epoch, and the total."""
        self.position = Position()
        self.window = _Window()
        self.saved = time.perf_counter()
        """When the last checkpoint was made."""
        self.checkpoint_is_due = False
        self.first_batch_s = 0.0
        """Wait for the first clips of the epoch."""
        self.updates.laps.start()

    def state(self) -> State:
        """Return what a checkpoint holds of the training."""
        updates = self.updates
        return State(self.network, updates.optimizer, updates.scaler, self.position, updates.average)

    def train_epoch(self) -> bool:
        """Take the remaining steps of the current epoch; return False where the caller wants to stop before its end."""
        settings, epoch = self.settings, self.position.epoch
        done, steps = self.position.step - self.starts[epoch], self.starts[epoch + 1] - self.starts[epoch]
        self.updates.model.train()
        self.window = _Window()
        with closing(self.training.batches(epoch, self.rank, self.world, done)) as batches:
            first = done
            while done < steps:
                self.updates.laps.lap("report")
                before = time.perf_counter()
                portion = next(batches)
                waited_s = time.perf_counter() - before
                self.window.waited_s += waited_s
                self.first_batch_s = waited_s if done == first else self.first_batch_s
                self.updates.laps.lap("wait")
                self.window.read += portion.count
                for share in portion.shares:
                    self.updates.laps.add("decode", share.decode_s)
                    self.updates.laps.add("augment", share.augment_s)
                portion = portion.to(self.device)
                self.updates.laps.lap("copy")
                step = self.position.step
                lr = lr_at(step, self.starts, settings)
                self.window.add(self.updates.take(portion, step, epochs_at(step, self.starts), lr))
                done += 1
                last = done == steps
                self.position = replace(self.position, epoch=epoch + last, step=self.position.step + 1)
                if last:
                    return True
                wish = self.wish(self.position.step)
                if wish != "go":
                    self.report_checkpoint(self.window_metrics())
                    if wish == "stop":
                        return False
                elif settings.checkpoint_steps and done % settings.checkpoint_steps == 0:
                    self.report_checkpoint(self.window_metrics())
                elif done % settings.log_every == 0:
                    metrics = self.window_metrics()
                    if self.checkpoint_is_due:
                        self.report_checkpoint(metrics)
                    elif self.rank == 0:
                        self.report(Report("step", epoch, self.position.step, metrics))
        return True

    def window_metrics(self) -> dict[str, float]:
        """Close the window; return its means and its speed, and note whether a checkpoint is due by time.

        The wait is that of the slowest rank: the others spend this time in the gradients' collective.
        """
        self.updates.watch.check()
        sums = dict(zip(self.window.sums, torch.stack(list(self.window.sums.values())).tolist(), strict=True))
        window, self.window = self.window, _Window()  # a GPU has taken its steps by now
        now = time.perf_counter()
        clock = torch.tensor(
            [window.waited_s, now - window.started, now - self.saved], dtype=torch.float64, device=self.device
        )
        waited_s, elapsed_s, unsaved_s = parallel.all_max(clock, self.group).tolist()
        minutes = self.settings.checkpoint_minutes
        self.checkpoint_is_due = self.checkpoints and 0 < 60 * minutes <= unsaved_s
        clips = sums.pop("clips")
        correct = sums.pop("correct")
        return {
            "epoch": epochs_at(self.position.step, self.starts),
            "train/lr": self.updates.lr,
            "train/grad_norm": float(self.updates.grad_norm),
            "train/top1_percent": 100 * correct / clips,
            **{f"train/{name}": value / clips for name, value in sums.items()},
            "workers/clips_per_s": window.read / elapsed_s,
            "workers/clips_per_s_per_worker": window.read / elapsed_s / self.world,
            "workers/step_ms": 1000 * elapsed_s / window.steps,
            "workers/data_wait_percent": 100 * waited_s / elapsed_s,
        }

    def epoch_times(self) -> dict[str, float]:
        """Return where the time since the last call went, mostly that of the epoch: means over the ranks."""
        seconds = self.updates.laps.seconds()
        slowest = torch.tensor([self.first_batch_s, seconds["wait"]], dtype=torch.float64, device=self.device)
        first_batch_s, wait_s = parallel.all_max(slowest, self.group).tolist()
        own = torch.tensor(list(seconds.values()), dtype=torch.float64, device=self.device)
        total = dict(zip(seconds, parallel.all_sum(own, self.group).tolist(), strict=True))
        elapsed_s = sum(total[name] for name in laps.STEP) / self.world
        return {
            "workers/epoch/first_batch_s": first_batch_s,
            # The others wait for the slowest rank, in the sums.
            "workers/epoch/saved_by_free_loader_percent": 100 * wait_s / elapsed_s,
            **laps.shares(total, self.settings.loader_threads),
        }

    def validate(self, validation: ValidationSource) -> dict[str, float]:
        """Score every validation video once."""
        average = self.updates.average
        averaged = nullcontext() if average is None else average.in_place(self.network)
        with averaged, closing(validation.batches(self.rank, self.world)) as batches:
            scores = score(self.network, batches, self.device, amp=self.settings.amp, group=self.group)
        metrics = measure(scores)
        self.updates.laps.start()
        return {
            "val/loss": metrics.loss,
            "val/top1_percent": metrics.top1_percent,
            "val/top5_percent": metrics.top5_percent,
            "val/mean_class_percent": metrics.mean_class_percent,
        }

    def judge(self, metrics: dict[str, float]) -> None:
        """Note whether a validation was better than all before it, as rank 0 sees it: all must end at once."""
        name = self.settings.patience_metric
        if self.settings.patience:
            value = float(parallel.gather_json(metrics[name], self.device, self.group)[0])
            best = self.position.best
            better = best is None or (value < best if name == "val/loss" else value > best)
            self.position = self.position.judged(value, better=better)

    def is_out_of_patience(self) -> bool:
        """Return whether validations have not got better for as long as the settings wait."""
        return 0 < self.settings.patience <= self.position.stale

    def report_checkpoint(self, metrics: dict[str, float]) -> None:
        """Report on every rank, with a checkpoint on rank 0; all must have the same weights."""
        refuse_different_weights(self.network, self.updates.average, self.position.step, self.device, self.group)
        self.updates.watch.refuse_infinite_weights(self.network)
        snapshot = None
        if self.checkpoints:
            snapshot = self.state().snapshot(self.identity, metrics, writes=self.rank == 0)
            self.saved = time.perf_counter()
        self.report(Report("epoch", self.position.epoch, self.position.step, metrics, snapshot))
        self.window = _Window()  # saving and validating do not count as time of the steps
