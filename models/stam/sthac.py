"""STHAC: two light branches calibrate the convolution weights of each frame (docs/papers/stam.md, section 3).

Equations (1) to (6) of that page. Our reimplementation of W. Li et al., "STAM", The Visual Computer, 2023: the abstract
names the two branches, the N filters they mix, the spatial multi-scale prior and the long-range dependency,
and no formula.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.stam.aggregation import normalise
from models.stam.calibrated_conv import calibrated_conv

SCALES = (1, 2, 3)
"""Dilations of the spatial branch."""
POOLED = 7
"""Height and width to which the spatial branch pools its input."""


class STHAC(nn.Module):
    """A 3x3 convolution whose weights are scaled for each frame, by factors computed from the frame and its clip.

    With filters at zero, as at the start, it is the static convolution.
    """

    temperature: float | Tensor

    def __init__(
        self,
        channels: int,
        *,
        reduced: int,
        filters: int,
        filter_size: int,
        mix: str,
        temperature: float,
        annealed: bool,
        standardise: bool,
        scale: float,
        init_std: float,
        branches: str,
        normalised: bool,
        position: float,
    ) -> None:
        super().__init__()
        self.mix, self.scale = mix, scale
        self.norm = nn.BatchNorm1d(filters, affine=False) if standardise else None
        if annealed:  # a checkpoint from the middle of the annealing must score as it was trained
            self.register_buffer("temperature", torch.tensor(temperature))
        else:
            self.temperature = temperature
        outputs = channels if mix == "branch" else filters
        self.spatial = SpatialBranch(channels, reduced, outputs) if branches in ("both", "spatial") else None
        self.temporal = None
        if branches in ("both", "temporal"):
            self.temporal = TemporalBranch(channels, reduced, outputs, normalised=normalised, position=position)
        if mix == "branch":
            for branch in self._branches():
                branch.scale = nn.Parameter(torch.ones(()))
                nn.init.zeros_(branch.head.weight)
                nn.init.zeros_(branch.head.bias)
        else:
            self.filters = nn.Parameter(torch.empty(filters, channels, filter_size, filter_size))
            nn.init.normal_(self.filters, std=init_std)

    def forward(self, x: Tensor, frames: int, weight: Tensor, stride: int) -> Tensor:
        """[B*T, C, h, w] -> [B*T, C', h/stride, w/stride], by the static weight [C', C, 3, 3]."""
        return calibrated_conv(x, self.factors(x, frames), weight, stride)

    def factors(self, x: Tensor, frames: int) -> Tensor:
        """Return the calibration alpha of x [B*T, C, h, w]: [B*T, C, k, k], a factor per frame, channel and tap."""
        if self.mix == "branch":
            filters = [branch.scale * branch(x, frames) for branch in self._branches()]
            change = sum(filters[1:], filters[0])[:, :, None, None]
        else:
            change = self.scale * self.mixing(x, frames) @ self.filters.flatten(1)
            change = change.view(-1, *self.filters.shape[1:])
        return 1 + change.float()  # half precision would round small changes away

    def mixing(self, x: Tensor, frames: int) -> Tensor:
        """Return the mixing coefficients pi of the filters in each frame, [B*T, N]."""
        logits = [branch(x, frames) for branch in self._branches()] or [x.new_zeros(x.shape[0], len(self.filters))]
        total = sum(logits[1:], logits[0])
        if self.norm is not None:
            total = normalise(self.norm, total)
        total = total / self.temperature
        return total.sigmoid() if self.mix == "sigmoid" else total.softmax(1)

    def _branches(self) -> list[SpatialBranch | TemporalBranch]:
        return [branch for branch in (self.spatial, self.temporal) if branch is not None]


class SpatialBranch(nn.Module):
    """[B*T, C, h, w] -> [B*T, outputs], from each frame alone, at several scales."""

    scale: nn.Parameter

    def __init__(self, channels: int, reduced: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1, bias=False)
        self.bn = nn.BatchNorm2d(reduced)
        self.relu = nn.ReLU(inplace=True)
        self.dilated = nn.ModuleList(
            nn.Conv2d(reduced, reduced, 3, padding=d, dilation=d, groups=reduced, bias=False) for d in SCALES
        )
        self.select = nn.Linear(reduced, len(SCALES) * reduced)
        self.head = nn.Linear(reduced, outputs)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        if max(x.shape[2:]) > POOLED:
            x = nn.functional.adaptive_avg_pool2d(x, POOLED)
        u = self.relu(self.bn(self.reduce(x)))
        scales = torch.stack([conv(u).mean((2, 3)) for conv in self.dilated], 1)
        attention = self.select(scales.sum(1)).unflatten(1, (len(SCALES), -1)).softmax(1)
        logits: Tensor = self.head((attention * scales).sum(1))
        return logits


class TemporalBranch(nn.Module):
    """[B*T, C, h, w] -> [B*T, outputs], by self-attention between the frames of a clip."""

    scale: nn.Parameter

    def __init__(self, channels: int, reduced: int, outputs: int, *, normalised: bool, position: float) -> None:
        super().__init__()
        self.position = position
        self.reduce = nn.Linear(channels, reduced)
        self.bn = nn.BatchNorm1d(reduced, affine=False) if normalised else None
        self.norm1, self.norm2 = nn.LayerNorm(reduced), nn.LayerNorm(reduced)
        self.qkv = nn.Linear(reduced, 3 * reduced)
        self.out = nn.Linear(reduced, reduced)
        self.mlp = nn.Sequential(nn.Linear(reduced, 2 * reduced), nn.GELU(), nn.Linear(2 * reduced, reduced))
        self.head = nn.Linear(reduced, outputs)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        means = x.mean((2, 3))
        if self.bn is None:
            v = self.reduce(means)
        else:  # before it, the bias would cancel in the norm
            v = normalise(self.bn, nn.functional.linear(means, self.reduce.weight)) + self.reduce.bias
        v = v.unflatten(0, (-1, frames))
        if self.position:
            v = v + self.position * sinusoidal(frames, v.shape[2]).to(v)
        query, key, value = self.qkv(self.norm1(v)).chunk(3, dim=2)
        attention = (query @ key.transpose(1, 2) / math.sqrt(query.shape[2])).softmax(2)
        v = v + self.out(attention @ value)
        v = v + self.mlp(self.norm2(v))
        logits: Tensor = self.head(v).flatten(0, 1)
        return logits


def sinusoidal(length: int, channels: int) -> Tensor:
    """Return the encoding of positions, [length, channels]: sin and cos of t / 10000^(2i / channels) in turn."""
    rates = 10000 ** (-torch.arange(0, channels, 2) / channels)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :channels]
