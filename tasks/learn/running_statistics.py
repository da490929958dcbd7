"""Batch norm's running statistics in a step of several shares.

Each share starts from the buffers with which the step began. Afterwards the buffers become the mean over the shares,
each counted by its clips, and the counters grow by one. So they do not depend on which worker computed what.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def norms(network: nn.Module) -> list[_NormBase]:
    """Return the layers of a network that may have running statistics."""
    return [module for module in network.modules() if isinstance(module, _NormBase)]


class RunningStatistics:
    """The buffers that the passes of one step move; made before the first of them.

    There are hundreds of small ones, which are copied and summed as one.
    """

    def __init__(self, layers: Sequence[_NormBase]) -> None:
        layers = [layer for layer in layers if layer.training and layer.track_running_stats]
        pairs = [(layer.running_mean, layer.running_var) for layer in layers]
        self._buffers = [buffer for pair in pairs for buffer in pair if buffer is not None]
        self._sizes = [len(buffer) for buffer in self._buffers]
        counters = [layer.num_batches_tracked for layer in layers]
        self._counters = [counter for counter in counters if counter is not None]
        self.start = self._together()
        """What there was at the start of the step: float [sum of C], or nothing."""
        self._counts = [counter.clone() for counter in self._counters]

    def _together(self) -> list[Tensor]:
        return [torch.cat(self._buffers)] if self._buffers else []

    @torch.no_grad()
    def reset(self) -> None:
        """Put back what there was at the start of the step."""
        self._set(self.start)

    @torch.no_grad()
    def moved(self, fraction: float) -> list[Tensor]:
        """Return what a share adds to the mean: after its forward pass, as a recomputation moves the buffers again."""
        return [values.mul_(fraction) for values in self._together()]

    @torch.no_grad()
    def finish(self, mean: list[Tensor]) -> None:
        """Set the buffers to the sum of `moved` over all shares."""
        self._set(mean)
        if self._counters:
            torch._foreach_add_(self._counters, 1)

    def _set(self, values: list[Tensor]) -> None:
        for together in values:
            torch._foreach_copy_(self._buffers, torch.split(together, self._sizes))
        if self._counters:
            torch._foreach_copy_(self._counters, self._counts)
