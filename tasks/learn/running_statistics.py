"""Batch norm's running statistics in a step of several shares.

Each share starts from the buffers with which the step began. Afterwards the buffers become the mean over the shares,
each counted by its clips, and the counters grow by one. So they do not depend on which worker computed what.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class RunningStatistics:
    """The buffers that the passes of one step move; made before the first of them."""

    def __init__(self, network: nn.Module) -> None:
        layers = [m for m in network.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
        pairs = [(layer.running_mean, layer.running_var) for layer in layers]
        self.buffers = [buffer for pair in pairs for buffer in pair if buffer is not None]
        """float [C] each."""
        counters = [layer.num_batches_tracked for layer in layers]
        self._counters = [counter for counter in counters if counter is not None]
        self._start = [buffer.clone() for buffer in (*self.buffers, *self._counters)]

    @torch.no_grad()
    def reset(self) -> None:
        """Put back what there was at the start of the step."""
        for buffer, start in zip((*self.buffers, *self._counters), self._start, strict=True):
            buffer.copy_(start)

    @torch.no_grad()
    def moved(self, fraction: float) -> list[Tensor]:
        """Return what a share adds to the mean: after its forward pass, as a recomputation moves the buffers again."""
        return [buffer * fraction for buffer in self.buffers]

    @torch.no_grad()
    def finish(self, means: list[Tensor]) -> None:
        """Set the buffers to the sums of `moved` over all shares."""
        self.reset()
        for buffer, mean in zip(self.buffers, means, strict=True):
            buffer.copy_(mean)
        for counter in self._counters:
            counter.add_(1)
