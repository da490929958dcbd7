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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from models.dsts.specialization import at_least_float32

Sum = Callable[[Iterable[list[Tensor]], Sequence[Tensor]], list[Tensor]]
"""Adds the tensors that each of this worker's shares yields, over all shares of all workers; the second argument has
their shapes, for a worker without a share."""


class Samples(Protocol):
    """A share's samples of a mini-batch."""

    @property
    def clip(self) -> Tensor:
        """[b, C, T, H, W]."""

    @property
    def labels(self) -> Tensor:
        """int64 [b], or float [b, K], what each class counts."""

    @property
    def fraction(self) -> float:
        """b / samples of the mini-batch, over all shares."""


class Share(Protocol):
    """A share of a step; the two mini-batches have no sample in common."""

    @property
    def train(self) -> Samples:
        """Samples of the mini-batch that the simulated step learns from."""

    @property
    def held_out(self) -> Samples:
        """Samples of the other mini-batch."""

    def draw(self, name: Literal["simulate", "held out"], /) -> None:
        """Seed the random numbers of a pass: the same ones each time, whatever was drawn before."""


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
    shares: Sequence[Share],
    add: Sum,
    *,
    lr: float,
    rate: float | None = None,
) -> list[Tensor]:
    """Set `grad` of the upstream parameters; nothing else in the network changes, not even batch norm's statistics.

    Each of the three sums over the step is taken share by share, so that its bits can be the same on any number of
    workers. For the last one, a share's graph is computed again with the same noise: one graph is in memory at a time.

    Args:
        network: in training mode; `forward_trunk` computes features of clips, without upstream parameters, and
            `forward_head` logits of features.
        upstream: u.
        simulated: those of d that the simulated step changes, by name; all are after the trunk.
        shares: those of this worker, perhaps none.
        add: sums over all shares.
        lr: learning rate of the simulated step, which is plain gradient descent.
        rate: a number that the gradients have as a factor where `lr` stands in equation (7); None: `lr`.

    Returns:
        The gradients that an ordinary step on the train halves would have, in the order of `upstream`.
    """
    names, values = list(simulated), list(simulated.values())
    factor = lr if rate is None else rate
    seen: list[_Seen] = []

    def simulated_gradients() -> Iterator[list[Tensor]]:
        for share in shares:
            share.draw("simulate")
            seen.append(_see(network, share.train))
            yield _own(torch.autograd.grad(_part_of_loss(network, {}, seen[-1]), [*values, *upstream]))

    def worths() -> Iterator[list[Tensor]]:
        for share in shares:
            share.draw("held out")
            loss = _part_of_loss(network, stepped, _see(network, share.held_out))
            yield _own(torch.autograd.grad(loss, list(stepped.values())))

    def own_gradients() -> Iterator[list[Tensor]]:
        for features in seen:
            gradients = torch.autograd.grad(_part_of_loss(network, {}, features), values, create_graph=True)
            # d L(d'(u)) / du = -lr * d<grad_d L(u, d), worth> / du, and the gradient in it is a sum over shares.
            yield _own(torch.autograd.grad(gradients, list(upstream), [-factor * value for value in worth]))

    with _still_statistics(network):
        total = add(simulated_gradients(), [*values, *upstream])
        stepped = {
            name: (value.detach() - lr * gradient).requires_grad_()
            for name, value, gradient in zip(names, values, total, strict=False)
        }
        worth = add(worths(), values)
        for parameter, gradient in zip(upstream, add(own_gradients(), list(upstream)), strict=True):
            parameter.grad = gradient
    return total[len(values) :]


def compared(ordinary: Tensor, second: Tensor) -> dict[str, Tensor]:
    """Return the norms of a parameter's ordinary and second-order gradient, and their cosine, as float64 scalars.

    The cosine is 0 where a gradient is.
    """
    first, other = ordinary.double().flatten(), second.double().flatten()
    norms = first.norm(), other.norm()
    cosine = (first @ other) / (norms[0] * norms[1]).clamp(min=torch.finfo(torch.float64).tiny)
    return {"ordinary_norm": norms[0], "upstream_norm": norms[1], "cosine": cosine}


@dataclass(frozen=True)
class _Seen:
    """What the trunk makes of some samples, and the state of the random numbers after it."""

    features: Tensor
    samples: Samples
    generator: Tensor


def _see(network: Any, samples: Samples) -> _Seen:
    with torch.no_grad():
        features = network.forward_trunk(samples.clip)
    state = torch.cuda.get_rng_state(features.device) if features.is_cuda else torch.get_rng_state()
    return _Seen(features, samples, state)


def _part_of_loss(network: Any, replaced: Mapping[str, Tensor], seen: _Seen) -> Tensor:
    """Return a share's part of the mean cross-entropy of a mini-batch, in float32 after the trunk."""
    features, samples = seen.features, seen.samples
    if features.is_cuda:
        torch.cuda.set_rng_state(seen.generator, features.device)
    else:
        torch.set_rng_state(seen.generator)
    parameters = {f"network.{name}": value for name, value in replaced.items()}
    with torch.autocast(features.device.type, enabled=False):
        logits = functional_call(_Head(network), parameters, (at_least_float32(features),))
        return F.cross_entropy(logits, samples.labels) * samples.fraction


def _own(gradients: Iterable[Tensor]) -> list[Tensor]:
    """Return copies, which autograd shares with nothing."""
    return [gradient.detach().clone(memory_format=torch.contiguous_format) for gradient in gradients]


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
