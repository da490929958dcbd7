"""Upstream-downstream learning: second-order gradients of the parameters that route (docs/papers/dsts.md, section 4).

T. Li et al., ECCV 2022; equations (6) to (8) of that page. Upstream parameters u route a sample (scoring kernels,
gates); downstream parameters d are all others. A step simulates the learning of d on one half of a batch and evaluates
on the other half how u should have routed:

    simulate   d' = d - lr * grad_d L(u, d; train)
    meta       u <- u - lr * grad_u L(d'(u); held out)
    actual     d <- d - lr * grad_d L(u, d; train)

The gradient reaches u only through d', so it is of second order. This file computes it; the training loop takes a step
along it, and then its ordinary step, the actual one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from models.dsts.specialization import at_least_float32

Reduce = Callable[[Sequence[Tensor]], list[Tensor]]
"""Sums each tensor over all workers."""


class Samples(Protocol):
    """A micro-batch: some of one worker's samples of a mini-batch."""

    @property
    def clip(self) -> Tensor:
        """[b, C, T, H, W]."""

    @property
    def labels(self) -> Tensor:
        """int64 [b]."""

    @property
    def sample_weights(self) -> Tensor:
        """[b], 0 for fillers."""

    @property
    def count(self) -> int:
        """Samples of the mini-batch, over all micro-batches and workers."""


class _Head(nn.Module):
    """The head of a network as a module, whose parameters `functional_call` replaces."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.network.forward_head(features)
        return logits


def upstream_gradients(
    network: nn.Module,
    upstream: Sequence[nn.Parameter],
    simulated: Mapping[str, nn.Parameter],
    train: Sequence[Samples],
    held_out: Sequence[Samples],
    *,
    lr: float,
    reduce: Reduce,
) -> None:
    """Set `grad` of the upstream parameters; nothing else in the network changes, not even batch norm's statistics.

    The result is the same on every worker: with noise and batch norm fixed, that of one worker with all samples.

    Args:
        network: in training mode; `forward_trunk` computes features of clips, without upstream parameters, and
            `forward_head` logits of features.
        upstream: u.
        simulated: those of d that the simulated step changes, by name; all are after the trunk.
        train: this worker's micro-batches of the first mini-batch.
        held_out: those of the second, which has no sample in common with the first.
        lr: learning rate of the simulated step, which is plain gradient descent.
        reduce: sums over workers.
    """
    names, values = list(simulated), list(simulated.values())
    with _still_statistics(network):
        own = torch.autograd.grad(_part_of_mean_loss(network, {}, train), values, create_graph=True)
        # All workers must simulate the same step: its gradient is the sum over them.
        total = reduce([gradient.detach() for gradient in own])
        stepped = {
            name: (value.detach() - lr * gradient).requires_grad_()
            for name, value, gradient in zip(names, values, total, strict=True)
        }
        sensitivity = reduce(
            torch.autograd.grad(_part_of_mean_loss(network, stepped, held_out), list(stepped.values()))
        )
        # d L(d'(u)) / du = -lr * d<grad_d L(u, d), sensitivity> / du, and the gradient in it is a sum over workers.
        own_part = torch.autograd.grad(own, list(upstream), [-lr * value for value in sensitivity])
    for parameter, gradient in zip(upstream, reduce(own_part), strict=True):
        parameter.grad = gradient


def _part_of_mean_loss(network: Any, replaced: Mapping[str, Tensor], parts: Sequence[Samples]) -> Tensor:
    """Return this worker's part of the mean cross-entropy of a mini-batch, in float32 after the trunk."""
    head, parameters = _Head(network), {f"network.{name}": value for name, value in replaced.items()}
    losses = []
    for part in parts:
        with torch.no_grad():
            features = network.forward_trunk(part.clip)
        with torch.autocast(features.device.type, enabled=False):
            logits = functional_call(head, parameters, (at_least_float32(features),))
            each = F.cross_entropy(logits, part.labels, reduction="none")
        losses.append((each * part.sample_weights).sum() / part.count)
    return torch.stack(losses).sum()


@contextmanager
def _still_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norm use the statistics of a batch without updating the running ones and their counter."""
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
