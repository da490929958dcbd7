"""A moving average of a network's weights, which is what the training is for (docs/papers/augmentation.md, section 8).

B. Polyak, A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on Control and
Optimization, 1992; with decay as in timm's ModelEma.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class WeightAverage:
    """Moves towards the weights of a network after each step, from those with which it begins.

    Running statistics are averaged like parameters, so that they are those of about the averaged weights. Other buffers
    (counters, an annealed temperature) are the network's own.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.values: dict[str, Tensor] = {}
        """Averages by the names of the network's state dict."""
        self._decay = decay
        norms = [name for name, module in network.named_modules() if isinstance(module, _NormBase)]
        running = {f"{name}.{kind}" for name in norms for kind in ("running_mean", "running_var")}
        self._averaged = {name for name, _ in network.named_parameters()} | running
        self.restart(network)

    @torch.no_grad()
    def restart(self, network: nn.Module) -> None:
        """Take the network's weights as they are."""
        self.values = {name: value.clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move after a step."""
        for name, value in network.state_dict().items():
            if name in self._averaged:
                self.values[name].lerp_(value, 1 - self._decay)
            else:
                self.values[name].copy_(value)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """Give the network the averages for a while."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        for name, value in network.state_dict().items():
            own = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(own)
