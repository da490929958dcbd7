"""One batch of clips, as the training loop and the scorer read it, and what gives the loop its batches."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One rank's samples of a step.

    A rank that has no sample left in the last step of an epoch gets a filler: a real clip of weight 0, so that every
    rank takes the same number of steps.
    """

    clip: Tensor
    """float32 [b, C, T, H, W]."""
    labels: Tensor
    """int64 [b]."""
    sample_weights: Tensor
    """float32 [b], 1 for a sample and 0 for a filler."""
    count: int
    """Samples of this step over all ranks, fillers not counted."""
    video_ids: list[str]
    views: Tensor
    """int64 [b], index of the view in the test protocol; 0 in training."""
    flow: Tensor | None = None
    """float32 [b, 2, K, H, W], pixels per frame, x before y: target flow, for networks that predict it."""
    lr: float = 1.0
    """Factor on the step's learning rate."""

    def halves(self, rank: int, world: int) -> tuple[Batch, Batch]:
        """Return this rank's samples of the first half of the step, and of the rest.

        Which samples are in which half does not depend on the number of workers, as `order.deal` deals them in turn.
        """
        first = (self.count + 1) // 2
        own = len(range(rank, first, world))
        return self._take(slice(own), first), self._take(slice(own, None), self.count - first)

    def micro_batches(self, number: int) -> list[Batch]:
        """Split the batch into at most `number` micro-batches of nearly equal size."""
        size = -(-len(self.labels) // number)
        return [self._take(slice(at, at + size), self.count) for at in range(0, len(self.labels), size)]

    def _take(self, rows: slice, count: int) -> Batch:
        """Return the batch of some rows, or a filler if there are none."""
        empty = len(self.labels[rows]) == 0
        rows = slice(1) if empty else rows
        return replace(
            self,
            clip=self.clip[rows],
            labels=self.labels[rows],
            sample_weights=self.sample_weights[rows] * (not empty),
            count=count,
            video_ids=self.video_ids[rows],
            views=self.views[rows],
            flow=None if self.flow is None else self.flow[rows],
        )

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors for the network on `device`."""
        return replace(
            self,
            clip=self.clip.to(device),
            labels=self.labels.to(device),
            sample_weights=self.sample_weights.to(device),
            flow=None if self.flow is None else self.flow.to(device),
        )


class TrainingSource(Protocol):
    """Batches of one epoch after another."""

    def steps(self, epoch: int) -> int:
        """Return the steps of an epoch: the same on every rank, and for any number of ranks."""

    def batches(self, epoch: int, rank: int, world: int, start_step: int) -> Generator[Batch, None, None]:
        """Yield a rank's batches of an epoch from `start_step` on."""


class ValidationSource(Protocol):
    """Batches of the validation videos."""

    def batches(self, rank: int, world: int) -> Generator[Batch, None, None]:
        """Yield a rank's own videos, whole and unpadded."""
