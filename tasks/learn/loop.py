"""The training loop: plain torch, on one worker or many, with or without Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Literal, NoReturn

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from tasks.errors import UserError
from tasks.learn import checkpoint, parallel
from tasks.learn.batch import Batch, TrainingSource, ValidationSource
from tasks.learn.checkpoint import Identity, Position
from tasks.learn.optim import build_optimizer, set_lr, upstream
from tasks.learn.precision import autocast, grad_scaler
from tasks.learn.schedule import lr_at
from tasks.learn.score import measure, score
from tasks.learn.settings import TrainSettings
from tasks.seeds import seed


@dataclass(frozen=True)
class Report:
    """What the loop reports to its caller."""

    kind: Literal["step", "epoch"]
    """"step" is reported on rank 0 only; "epoch" on every rank, also when `checkpoint_steps` asks for a checkpoint."""
    epoch: int
    """Finished epochs."""
    step: int
    """Steps taken since the start."""
    metrics: dict[str, float]
    """The same on every rank. `train/*` and `speed/*` cover the steps since the previous report."""
    checkpoint: Path | None = None
    """A folder, on rank 0 only; the caller may keep, move or delete it."""


Wish = Literal["go", "save", "stop"]
"""What the caller wants after a step: nothing, a checkpoint, or a checkpoint and the end."""


def _go_on(step: int) -> Wish:
    return "go"


@dataclass
class _Window:
    """Sums since the last report."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    read: int = 0
    """Clips read by all ranks, held-out halves included."""
    waited_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, sums: dict[str, float]) -> None:
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
    scratch: Path | None,
    wish: Callable[[int], Wish] = _go_on,
) -> bool:
    """Train a network and report progress; return whether training came to its end.

    Call it on every rank of `group` (None: one worker). `resume` is a checkpoint folder that every rank can read;
    training continues from it bit for bit, as if it had never stopped. Checkpoints are written below `scratch`; with
    None there are none, and safetensors need not be installed.
    `wish` is asked after every step, by its number, and answers alike on every rank.
    Raises UserError if the loss is no longer finite, or if a setting does not suit the device.
    """
    loop = _Loop(network, training, settings, report, identity, torch.device(device), group, scratch, wish)
    if resume is not None:
        loop.position = checkpoint.resume(resume, network, loop.optimizer, loop.scaler, identity)
    loop.model = parallel.wrap(network, loop.device, group)
    try:
        while loop.position.epoch < settings.epochs:
            if not loop.train_epoch():
                return False
            epoch = loop.position.epoch
            metrics = loop.window_metrics()
            if validation is not None and (epoch % settings.validate_every == 0 or epoch == settings.epochs):
                metrics |= loop.validate(validation)
            loop.report_checkpoint(metrics)
        return True
    finally:
        del loop
        parallel.release(group)


@contextmanager
def _single_clips_refused() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a worker's batch of one clip leaves batch norm a single value in each channel of some layer: choose a "
            "train.batch_size (over compute.workers and train.accumulate) that leaves no clip alone, also in the last "
            "step of an epoch, or larger or longer clips"
        ) from error


class _Loop:
    """State of one `fit`."""

    model: nn.Module

    def __init__(
        self,
        network: nn.Module,
        training: TrainingSource,
        settings: TrainSettings,
        report: Callable[[Report], None],
        identity: Identity,
        device: torch.device,
        group: ProcessGroup | None,
        scratch: Path | None,
        wish: Callable[[int], Wish],
    ) -> None:
        self.autocast = autocast(device, settings.amp)
        self.network = network.to(device)
        self.training, self.settings, self.report = training, settings, report
        self.identity, self.device, self.group, self.scratch = identity, device, group, scratch
        self.wish = wish
        self.rank, self.world = parallel.rank_and_world(group)
        self.optimizer = build_optimizer(network, settings)
        self.upstream = upstream(self.optimizer)
        self.scaler = grad_scaler(device, settings.amp)
        self.starts = [0, *accumulate(training.steps(epoch) for epoch in range(settings.epochs))]
        """Steps before each epoch, and the total."""
        self.position = Position()
        self.lr = self.grad_norm = 0.0
        self.window = _Window()

    def train_epoch(self) -> bool:
        """Take the remaining steps of the current epoch; return False where the caller wants to stop before its end."""
        settings, epoch = self.settings, self.position.epoch
        done, steps = self.position.step - self.starts[epoch], self.starts[epoch + 1] - self.starts[epoch]
        self.model.train()
        self.window = _Window()
        with closing(self.training.batches(epoch, self.rank, self.world, done)) as batches:
            while done < steps:
                before = time.perf_counter()
                batch = next(batches).to(self.device)
                self.window.waited_s += time.perf_counter() - before
                self.window.read += batch.count
                self.window.add(self.train_step(batch))
                done += 1
                last = done == steps
                self.position = Position(epoch + last, self.position.step + 1)
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
                    if self.rank == 0:
                        self.report(Report("step", epoch, self.position.step, metrics))
        return True

    @_single_clips_refused()
    def train_step(self, batch: Batch) -> dict[str, float]:
        """Update the weights once; return sums over the clips of the ordinary step on all ranks."""
        torch.manual_seed(seed(self.settings.seed, self.position.step, self.rank))
        epoch, width = self.epoch_and_width()
        self.lr = lr_at(epoch, width, self.settings) * batch.lr
        set_lr(self.optimizer, self.lr)
        self.network.begin_step(epoch)  # type: ignore[operator]
        if self.upstream:
            batch, held_out = batch.halves(self.rank, self.world)
            if held_out.count:
                self.upstream_step(batch, held_out)
        return self.ordinary_step(batch)

    def epoch_and_width(self) -> tuple[float, float]:
        """Return the epochs since the start, with fractions, and the fraction of an epoch that a step takes."""
        epoch, step = self.position.epoch, self.position.step
        if epoch == self.settings.epochs:
            return float(epoch), 0.0
        start, end = self.starts[epoch : epoch + 2]
        return epoch + (step - start) / (end - start), 1 / (end - start)

    def upstream_step(self, train: Batch, held_out: Batch) -> None:
        """Update only the upstream parameters, along the gradients that the network computes itself."""
        train_parts, held_out_parts = (half.micro_batches(self.settings.accumulate) for half in (train, held_out))
        self.optimizer.zero_grad()
        with self.autocast:
            self.network.gradients(  # type: ignore[operator]
                train_parts,
                held_out_parts,
                lr=self.lr,
                reduce=partial(parallel.sum_each, group=self.group),
            )
        norm = self._clip()
        if not math.isfinite(norm):
            self._refuse()
        self.optimizer.step()

    def ordinary_step(self, batch: Batch) -> dict[str, float]:
        """Update all other parameters; return sums over the step's clips on all ranks."""
        self.optimizer.zero_grad()
        parts, local = batch.micro_batches(self.settings.accumulate), []
        for number, part in enumerate(parts, 1):
            with parallel.without_sync(self.model, skip=number < len(parts)):
                with self.autocast:
                    losses = self.model(part.clip, part.labels, part.sample_weights, part.flow)
                scale = parallel.global_mean_scale(part.sample_weights, part.count, self.world)
                torch.autograd.backward(self.scaler.scale(losses["total"] * scale))
            local.append(_sums(losses, part))
        sums = self._reduce(local)
        for parameter in self.upstream:
            parameter.grad = None
        self.scaler.unscale_(self.optimizer)
        self.grad_norm = self._clip()
        # fp16 gradients overflow occasionally; the scaler skips such a step.
        if not math.isfinite(sums["loss"]) or not (math.isfinite(self.grad_norm) or self.scaler.is_enabled()):
            self._refuse()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return sums

    def _clip(self) -> float:
        """Clip the gradients if the settings say so; return their norm before clipping."""
        parameters = [p for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        return float(norm)

    def _reduce(self, local: list[dict[str, Tensor]]) -> dict[str, float]:
        """Sum over ranks, by one collective per step: metrics are exact, and all ranks learn of a bad loss at once."""
        values = torch.stack([torch.stack(list(part.values())) for part in local]).sum(0)
        return dict(zip(local[0], parallel.all_sum(values, self.group).tolist(), strict=True))

    def _refuse(self) -> NoReturn:
        bf16 = ", or use train.amp=bf16" if self.settings.amp == "fp16" else ""
        raise UserError(
            f"the loss or its gradient is no longer finite at step {self.position.step + 1} (learning rate "
            f"{self.lr:.4g}): lower train.lr, lengthen train.warmup_epochs or set train.clip_norm{bf16}"
        )

    def window_metrics(self) -> dict[str, float]:
        """Close the window; return its means and its speed.

        The wait is that of the slowest rank: the others spend this time in the gradients' collective.
        """
        window, self.window = self.window, _Window()
        clock = torch.tensor(
            [window.waited_s, time.perf_counter() - window.started], dtype=torch.float64, device=self.device
        )
        waited_s, elapsed_s = parallel.all_max(clock, self.group).tolist()
        clips = window.sums.pop("clips")
        correct = window.sums.pop("correct")
        return {
            "epoch": self.epoch_and_width()[0],
            "train/lr": self.lr,
            "train/grad_norm": self.grad_norm,
            "train/top1_percent": 100 * correct / clips,
            **{f"train/{name}": value / clips for name, value in window.sums.items()},
            "speed/clips_per_s": window.read / elapsed_s,
            "speed/step_ms": 1000 * elapsed_s / window.steps,
            "speed/data_wait_percent": 100 * waited_s / elapsed_s,
        }

    def validate(self, validation: ValidationSource) -> dict[str, float]:
        """Score every validation video once."""
        parallel.sync_buffers(self.network, self.group)
        with closing(validation.batches(self.rank, self.world)) as batches:
            scores = score(self.network, batches, self.device, amp=self.settings.amp, group=self.group)
        metrics = measure(scores)
        return {
            "val/loss": metrics.loss,
            "val/top1_percent": metrics.top1_percent,
            "val/top5_percent": metrics.top5_percent,
            "val/mean_class_percent": metrics.mean_class_percent,
        }

    def report_checkpoint(self, metrics: dict[str, float]) -> None:
        """Report on every rank, with a checkpoint on rank 0."""
        folder = None
        if self.rank == 0 and self.scratch is not None:
            folder = self.scratch / f"checkpoint-{self.position.step:08d}"
            checkpoint.save(folder, self.network, self.optimizer, self.scaler, self.identity, self.position)
        self.report(Report("epoch", self.position.epoch, self.position.step, metrics, folder))
        self.window = _Window()  # saving and validating do not count as time of the steps


def _sums(losses: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Return the metrics of one pass, summed over its clips, in float64."""
    clips = batch.sample_weights.sum()
    correct = ((losses["logits"].argmax(1) == batch.labels) * batch.sample_weights).sum()
    named = {"clips": clips, "loss": losses["total"] * clips, "correct": correct}
    named |= {name: losses[name] * clips for name in sorted(losses) if name not in ("total", "logits")}
    return {name: value.detach().double() for name, value in named.items()}
