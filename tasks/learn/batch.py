"""Clips that go through the network together, and what gives the loop its steps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A share of a training step, or some of the views to be scored."""

    clip: Tensor
    """[b, C, T, H, W]: uint8 with `norm` as it is read, and float32 as a network sees it."""
    labels: Tensor
    """int64 [b]; or, in training, float32 [b, K], what each class counts."""
    video_ids: list[str]
    views: Tensor
    """int64 [b], index of the view in the test protocol; 0 in training."""
    norm: Tensor | None = None
    """float32 [b, 2, C]: the scale and the offset that make a network's values of each channel; None where they are."""
    flow: Tensor | None = None
    """float32 [b, 2, K, H, W], pixels per frame, x before y: target flow, for networks that predict it."""
    number: int = 0
    """Number of the share in its step."""
    fraction: float = 1.0
    """Its clips among those of the step: what it counts in every mean over the step."""
    decode_s: float = 0.0
    """Seconds that threads of the loader took to read and decode a share."""
    augment_s: float = 0.0
    """Seconds that they took to cut and change it."""

    def rows(self, rows: slice, fraction: float) -> Batch:
        """Return the batch of some rows, which are another fraction of a step."""
        return replace(
            self,
            clip=self.clip[rows],
            labels=self.labels[rows],
            video_ids=self.video_ids[rows],
            views=self.views[rows],
            norm=None if self.norm is None else self.norm[rows],
            flow=None if self.flow is None else self.flow[rows],
            fraction=fraction,
        )

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors for the network on `device`: clips are copied as bytes, then normalised."""
        clip = self.clip.to(device, non_blocking=True)
        if self.norm is not None:
            scale, offset = self.norm.to(device, non_blocking=True)[..., None, None, None].unbind(1)
            # In two steps, which round alike on every device; fused, they would not.
            clip = clip.float().mul_(scale).add_(offset)
        return replace(
            self,
            clip=clip,
            norm=None,
            labels=self.labels.to(device, non_blocking=True),
            flow=None if self.flow is None else self.flow.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Portion:
    """What one worker computes of a step: some of its shares, perhaps none."""

    shares: list[Batch]
    """Consecutive ones."""
    first: int
    """Number of the first of them."""
    of: int
    """Shares of the step, over all workers: clip i of the step is in share i % of."""
    count: int
    """Clips of the step, over all workers."""
    lr: float = 1.0
    """Factor on the step's learning rate."""

    def halves(self) -> tuple[Portion, Portion]:
        """Return the clips of the first half of the step, and the others: each share is cut in two."""
        half = (self.count + 1) // 2
        cuts = [len(range(share.number, half, self.of)) for share in self.shares]
        first = [s.rows(slice(cut), cut / half) for s, cut in zip(self.shares, cuts, strict=True)]
        rest = [
            s.rows(slice(cut, None), (len(s.labels) - cut) / max(1, self.count - half))
            for s, cut in zip(self.shares, cuts, strict=True)
        ]
        return replace(self, shares=first, count=half), replace(self, shares=rest, count=self.count - half)

    def to(self, device: torch.device | str) -> Portion:
        """Return the portion with its tensors for the network on `device`."""
        return replace(self, shares=[share.to(device) for share in self.shares])


class TrainingSource(Protocol):
    """Steps of one epoch after another."""

    def steps(self, epoch: int) -> int:
        """Return the steps of an epoch: the same on every rank, and for any number of ranks."""

    def label_counts(self) -> Tensor:
        """Return the samples of each class, int64 [K]."""

    def batches(self, epoch: int, rank: int, world: int, start_step: int) -> Generator[Portion, None, None]:
        """Yield a rank's portions of an epoch's steps from `start_step` on."""


class ValidationSource(Protocol):
    """Batches of the validation videos."""

    def batches(self, rank: int, world: int) -> Generator[Batch, None, None]:
        """Yield a rank's batches: consecutive ones of a list that is the same for any number of ranks."""
