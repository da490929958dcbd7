"""Omni-dimensional aggregation (OD): channel groups gated by local or global context in space and time.

Our reimplementation, from the abstract, of W. Li et al., "STAM", The Visual Computer, 2023 (docs/papers/stam.md,
section 4, equation (7)): the channel groups of Y. Hao et al., "Group Contextualization", CVPR 2022, inside the temporal
aggregation of TAdaConv.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet import conv
from models.common.network import refold, temporal_average, unfold


class OmniAggregation(nn.Module):
    """[B*T, C, h, w] in and out; zero at the start. Without gates it is TAdaConv's average over three frames."""

    def __init__(self, channels: int, *, gates: bool) -> None:
        super().__init__()
        self.gates = Gates(channels // 4) if gates else None
        self.bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn.weight)

    def forward(self, y: Tensor, frames: int) -> Tensor:
        """Return the term to add to the batch-normalised y."""
        gated = unfold(y, frames)
        if self.gates is not None:
            gated = self.gates(gated)
        added: Tensor = self.bn(refold(temporal_average(gated)))
        return added


class Gates(nn.Module):
    """Gates of four groups of channels of [B, T, h, w, 4*c], each from another context."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.local_time = temporal_conv(channels)
        self.global_space = temporal_conv(channels)
        self.global_time = conv(channels, channels, 3)
        self.everything = nn.Linear(channels, channels, bias=False)
        self.bn_local_time = nn.BatchNorm2d(channels)
        self.bn_global_space = nn.BatchNorm2d(channels)
        self.bn_global_time = nn.BatchNorm2d(channels)
        self.bn_everything = nn.BatchNorm1d(channels)

    def forward(self, y: Tensor) -> Tensor:
        local, wide, still, whole = torch.split(y, self.channels, dim=4)
        # local time, local space: along T at every pixel
        pixels = local.flatten(2, 3).permute(0, 3, 1, 2)  # [B, c, T, h*w]
        gate = normalise(self.bn_local_time, self.local_time(pixels)).sigmoid()
        local = local * gate.permute(0, 2, 3, 1).reshape(local.shape)
        # local time, global space: along T, from the mean of each frame
        means = wide.mean((2, 3)).transpose(1, 2).unsqueeze(3)  # [B, c, T, 1]
        gate = normalise(self.bn_global_space, self.global_space(means)).sigmoid()
        wide = wide * gate.permute(0, 2, 3, 1).unsqueeze(3)
        # global time, local space: in the plane, from the mean frame
        frame = still.mean(1).permute(0, 3, 1, 2)  # [B, c, h, w]
        gate = normalise(self.bn_global_time, self.global_time(frame)).sigmoid()
        still = still * gate.permute(0, 2, 3, 1).unsqueeze(1)
        # global time, global space: from the mean of the clip
        gate = normalise(self.bn_everything, self.everything(whole.mean((1, 2, 3)))).sigmoid()
        whole = whole * gate[:, None, None, None]
        return torch.cat([local, wide, still, whole], dim=4)


def temporal_conv(channels: int) -> nn.Conv2d:
    """Make a dense convolution of 3 taps along T of [B, c, T, positions]."""
    layer = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def normalise(bn: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Apply batch norm; by running statistics if there is one value per channel in training, as with a single clip."""
    if bn.training and x.numel() == x.shape[1]:
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)
    normalised: Tensor = bn(x)
    return normalised
