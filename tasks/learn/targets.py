"""What a network is to say of a share's clips: labels, or what smoothing, class weights, mixup and CutMix make of them.

C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016; H. Zhang et al., "mixup:
Beyond Empirical Risk Minimization", ICLR 2018; S. Yun et al., "CutMix: Regularization Strategy to Train Strong
Classifiers with Localizable Features", ICCV 2019; as in timm, whose batch is a share here (docs/papers/augmentation.md,
section 7).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tasks.learn.batch import Batch, Portion
from tasks.learn.settings import TrainSettings
from tasks.seeds import generator


class Targets:
    """Makes the targets of shares, and mixes their clips; changes nothing where the settings ask for nothing."""

    def __init__(self, settings: TrainSettings, classes: int, weights: Tensor | None = None) -> None:
        """`weights` [K] is what a clip of each class counts; None: all 1."""
        self._settings, self._classes, self._weights = settings, classes, weights

    def set(self, portion: Portion, step: int, *, held_out: bool = False) -> Portion:
        """Return a portion with targets instead of labels: float32 [b, K].

        A share, or a half of one, is mixed in itself, and by numbers that depend on (seed, step, share) alone.
        """
        settings = self._settings
        if self._weights is None and not (settings.label_smoothing or settings.mixup or settings.cutmix):
            return portion
        half = "held out" if held_out else "ordinary"
        shares = [
            self._set(share, generator(settings.seed, step, share.number, half, "mix")) for share in portion.shares
        ]
        return replace(portion, shares=shares)

    def _set(self, share: Batch, rng: np.random.Generator) -> Batch:
        settings = self._settings
        labels = self._weighted(self._smoothed(share.labels), share.labels)
        if not (settings.mixup or settings.cutmix):
            return replace(share, labels=labels)
        if share.flow is not None:
            raise ValueError("mixup and CutMix have no flow between the frames that they make: leave them out")
        cuts = rng.random() < 0.5 if settings.mixup and settings.cutmix else settings.cutmix > 0
        alpha = settings.cutmix if cuts else settings.mixup
        own = float(rng.beta(alpha, alpha))
        if cuts:
            clip, own = _with_box(share.clip, own, rng)
        else:
            clip = _mixed(share.clip, own)
        return replace(share, clip=clip, labels=_mixed(labels, own))

    def _smoothed(self, labels: Tensor) -> Tensor:
        """Return [b] labels as [b, K]: a part of each is spread evenly over all classes."""
        off = self._settings.label_smoothing / self._classes
        spread = torch.full((len(labels), self._classes), off, device=labels.device)
        return spread.scatter_(1, labels.unsqueeze(1), 1 - self._settings.label_smoothing + off)

    def _weighted(self, smoothed: Tensor, labels: Tensor) -> Tensor:
        if self._weights is None:
            return smoothed
        return smoothed * self._weights.to(labels.device)[labels].unsqueeze(1)


def _mixed(values: Tensor, own: float) -> Tensor:
    """Return each row mixed with the one that stands in its place from the end."""
    return own * values + (1 - own) * values.flip(0)


def _with_box(clip: Tensor, own: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Return clips with a box of the other one in all frames, and the part of a frame that is their own.

    The box has about 1 - own of a frame's area, before what lies outside is cut off.
    """
    ends = []
    for side in clip.shape[-2:]:
        cut, centre = int(side * (1 - own) ** 0.5), int(rng.integers(side))
        ends.append((max(0, centre - cut // 2), min(side, centre + cut // 2)))
    (top, bottom), (left, right) = ends
    box = (..., slice(top, bottom), slice(left, right))
    mixed = clip.clone()
    mixed[box] = clip.flip(0)[box]
    height, width = clip.shape[-2:]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
