"""What the loop and the scorer read: one batch of clips."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step.

    A rank that has no sample left in the last step of an epoch gets a filler: a real clip of weight 0, so that every
    rank takes the same number of steps.
    """

    clip: Tensor
    """float32 [b, C, T, H, W]."""
    labels: Tensor
    """int64 [b]."""
    weights: Tensor
    """float32 [b], 1 for a sample and 0 for a filler."""
    count: int
    """Samples of this step over all ranks, fillers not counted."""
    video_ids: list[str]
    views: Tensor
    """int64 [b], index of the view in the test protocol; 0 in training."""
    flow: Tensor | None = None
    """float32 [b, 2, K, H, W], pixels a frame, x before y: what networks that learn it get in their `losses`."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors for the network on `device`."""
        return replace(
            self,
            clip=self.clip.to(device),
            labels=self.labels.to(device),
            weights=self.weights.to(device),
            flow=None if self.flow is None else self.flow.to(device),
        )
