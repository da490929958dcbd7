"""One update of a network's weights: the passes of a worker's shares, their sums over all, and the optimiser's step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from tasks.errors import UserError
from tasks.learn import parallel, sums
from tasks.learn.average import WeightAverage
from tasks.learn.batch import Batch, Portion
from tasks.learn.divergence import Watch
from tasks.learn.laps import Laps
from tasks.learn.optim import build_optimizer, set_lr, smallest_share, upstream
from tasks.learn.precision import autocast, grad_scaler
from tasks.learn.recompute import recompute
from tasks.learn.running_statistics import RunningStatistics, norms
from tasks.learn.settings import TrainSettings
from tasks.learn.shares import count_shares
from tasks.learn.sums import Sum
from tasks.learn.targets import Targets
from tasks.seeds import seed


@contextmanager
def _single_clips_refused() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a share of one clip leaves batch norm a single value in each channel of some layer: give the "
            "train part and train.batch_size two clips or more (four for a network that holds half of a step out), or "
            "take larger or longer clips"
        ) from error


class Updates:
    """Updates a network step by step; the same on every rank."""

    model: nn.Module
    """What is called for losses; made after a checkpoint is loaded."""

    def __init__(
        self,
        network: nn.Module,
        settings: TrainSettings,
        device: torch.device,
        group: ProcessGroup | None,
        class_weights: Tensor | None = None,
    ) -> None:
        self.autocast = autocast(device, settings.amp)
        self.network = network.to(device)
        if settings.recompute:
            recompute(network)
        self.settings, self.device, self.group = settings, device, group
        self.world = parallel.rank_and_world(group)[1]
        self.optimizer = build_optimizer(network, settings)
        self.scaler = grad_scaler(device, settings.amp)
        self.average = WeightAverage(network, settings.ema_decay) if settings.ema_decay else None
        self.upstream = upstream(self.optimizer)
        self.smallest = smallest_share(network)
        self.norms = norms(network)
        own = {id(parameter) for parameter in self.upstream}
        self.summed = [parameter for parameter in parallel.trainable(network) if id(parameter) not in own]
        """Parameters whose gradients are added here, and not by DistributedDataParallel."""
        if settings.sums == "fast":
            self.summed = []
        self.targets = Targets(settings, network.num_classes, class_weights)  # type: ignore[arg-type]
        self.watch = Watch(device, group, settings.amp, at_once=device.type == "cpu")
        self.names: list[str] = []
        """Names of the figures that each pass gives."""
        self.own_names: list[str] = []
        self.step = 0
        """Number of the step, from 0."""
        self.lr = 0.0
        self.grad_norm = torch.zeros(())
        """Before clipping."""
        self.laps = Laps(device)

    def wrap(self) -> None:
        """Make the module that is called for losses, with the weights of rank 0."""
        self.model = parallel.wrap(self.network, self.device, self.group, average=self.settings.sums == "fast")
        if self.average is not None:
            parallel.share_out(self.average.values.values(), self.group)

    @_single_clips_refused()
    def take(self, portion: Portion, step: int, epoch: float, lr: float) -> dict[str, Tensor]:
        """Update the weights once; return sums over the clips of the ordinary step on all ranks, float64 scalars.

        Nothing here waits for a GPU, but for the scaler of fp16.

        Args:
            portion: what this worker computes of the step.
            step: its number, counted from 0 over the whole training.
            epoch: epochs since the start of training, with fractions.
            lr: base learning rate of a step of `batch_size` clips.
        """
        if portion.of != count_shares(portion.count, self.settings.shares, self.smallest):
            raise ValueError(f"a step of {portion.count} clips came in {portion.of} shares: give its source `smallest`")
        self.step = step
        self.lr = lr * portion.lr
        self.watch.start(step + 1, self.lr, portion)
        set_lr(self.optimizer, self.lr)
        self.network.begin_step(epoch)  # type: ignore[operator]
        if self.upstream:
            portion, held_out = portion.halves()
            portion = self.targets.set(portion, step)
            told: dict[str, Tensor] = {}
            if held_out.count:
                told = self.upstream_step(portion, self.targets.set(held_out, step, held_out=True))
            figures = self.ordinary_step(portion)
            return figures | {name: value.double() * figures["clips"] for name, value in told.items()}
        return self.ordinary_step(self.targets.set(portion, step))

    def draw(self, share: int, name: Literal["simulate", "held out", "ordinary"]) -> None:
        """Seed the noise of a pass of a share."""
        value = seed(self.settings.seed, self.step, share, name)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(value)  # and no GPU's, which would have the stack of calls written down
        else:
            torch.manual_seed(value)

    def start_sum(self, portion: Portion) -> Sum:
        """Start a sum over the shares of a step."""
        return sums.start(self.settings.sums, portion.first, portion.of, self.group)

    def upstream_step(self, train: Portion, held_out: Portion) -> dict[str, Tensor]:
        """Update only the upstream parameters, along the gradients that the network computes itself.

        Returns the network's figures of them: scalars, the same on every rank.
        """

        def add(own: Iterable[list[Tensor]], like: Sequence[Tensor]) -> list[Tensor]:
            adding = self.start_sum(train)
            for tensors in own:
                adding.add(tensors)
            return adding.total(like)

        self.optimizer.zero_grad()
        halves = zip(train.shares, held_out.shares, strict=True)
        shares = [_Halves(first, other, partial(self.draw, first.number)) for first, other in halves]
        with self.autocast:
            told: dict[str, Tensor] = self.network.gradients(shares, add, lr=self.lr)  # type: ignore[operator]
        self.watch.expect_finite(self._clip())
        self.optimizer.step()
        self.laps.lap("upstream")
        return told

    def ordinary_step(self, portion: Portion) -> dict[str, Tensor]:
        """Update all other parameters; return sums over the step's clips on all ranks."""
        self.optimizer.zero_grad()
        statistics, adding = RunningStatistics(self.norms), self.start_sum(portion)
        for number, share in enumerate(portion.shares, 1):
            if number > 1:
                statistics.reset()
            self.draw(share.number, "ordinary")
            with parallel.without_sync(self.model, skip=number < len(portion.shares)):
                with self.autocast:
                    losses = self.model(share)
                self.laps.lap("forward")
                moved = statistics.moved(share.fraction)
                self._backward(losses["total"] * share.fraction)
            self.laps.lap("backward")
            self.watch.add(share, losses["total"])
            own = _figures(losses, share)
            self.own_names = list(own)
            adding.add([*self._taken_gradients(), *moved, torch.stack(list(own.values()))])
            self.laps.lap("sums")
        if not portion.shares and self.settings.sums == "fast":
            self._backward(self.model(None)["total"])  # the others wait for this worker's gradients
        figures = self._sum(adding, statistics)
        self.laps.lap("sums")
        for parameter in self.upstream:
            parameter.grad = None
        self.scaler.unscale_(self.optimizer)
        self.grad_norm = self._clip()
        # fp16 gradients overflow occasionally; the scaler skips such a step.
        self.watch.expect_finite(figures["loss"], *([] if self.scaler.is_enabled() else [self.grad_norm]))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.network)
        self.laps.lap("optimizer")
        return figures

    def _backward(self, loss: Tensor) -> None:
        # DistributedDataParallel divides by the number of workers.
        averaged = self.world if self.settings.sums == "fast" else 1
        torch.autograd.backward(self.scaler.scale(loss * averaged))

    def _taken_gradients(self) -> list[Tensor]:
        """Return the gradients of a share that are to be added exactly, and leave none."""
        taken: list[Tensor] = []
        for parameter in self.summed:
            taken.append(
                torch.zeros_like(parameter) if parameter.grad is None else parallel.laid_out(parameter.grad, parameter)
            )
            parameter.grad = None
        return taken

    def _sum(self, adding: Sum, statistics: RunningStatistics) -> dict[str, Tensor]:
        """Set gradients and statistics to their sums over all shares; return the sums of the figures."""
        if not self.names:  # a worker without a share must learn them; the last one always has a share
            self.names = parallel.gather_json(self.own_names, self.device, self.group)[-1]
        figures = torch.zeros(len(self.names), dtype=torch.float64, device=self.device)
        total = adding.total([*self.summed, *statistics.start, figures])
        for parameter, gradient in zip(self.summed, total, strict=False):
            parameter.grad = gradient
        statistics.finish(total[len(self.summed) : -1])
        return dict(zip(self.names, total[-1].unbind(), strict=True))

    def _clip(self) -> Tensor:
        """Clip the gradients if the settings say so; return their norm before clipping."""
        parameters = [p for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        return norm


@dataclass(frozen=True)
class _Halves:
    """A share whose network holds half of it out."""

    train: Batch
    held_out: Batch
    draw: Callable[[Literal["simulate", "held out"]], None]


def _figures(losses: dict[str, Tensor], share: Batch) -> dict[str, Tensor]:
    """Return the metrics of one pass, summed over its clips, in float64."""
    clips = torch.full((), float(len(share.labels)), device=share.labels.device)
    labels = share.labels.argmax(1) if share.labels.is_floating_point() else share.labels  # the heavier of two
    correct = (losses["logits"].argmax(1) == labels).sum()
    named = {"clips": clips, "loss": losses["total"] * clips, "correct": correct}
    named |= {name: losses[name] * clips for name in sorted(losses) if name not in ("total", "logits")}
    return {name: value.detach().double() for name, value in named.items()}
