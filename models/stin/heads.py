"""Heads of STIN: differences between neighbouring maps, self-attention and its pooling (docs/papers/stin.md)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet import conv
from models.common.errors import ModelError
from models.common.network import last_linear, weighted_mean

FLOW_UNIT = 20.0
"""Unit of predicted flow, in pixels per frame: the bound at which TSN clips flow."""


class Changes(nn.Module):
    """Change from one map to the next: the common part of the two heads of apparent difference. For training only.

    Equation (1) of docs/papers/stin.md, section 3. The bias of `bn_project` cancels in the difference: its `inner`
    parameters are never trained, and counted because a batch norm has them.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.project = conv(channels, inner, 1)
        self.bn_project = nn.BatchNorm2d(inner)
        self.conv = conv(inner, inner, 3)
        self.bn = nn.BatchNorm2d(inner)
        self.relu = nn.ReLU(inplace=True)

    def changes(self, maps: Tensor, *, pairs: bool) -> Tensor:
        """Return D: [B, T/2, inner, h, w] of frames 0 and 1, 2 and 3, ... (pairs); else [B, T-1, ...] of neighbours."""
        clips, frames = maps.shape[0], maps.shape[2]
        projected: Tensor = self.bn_project(self.project(maps.transpose(1, 2).flatten(0, 1)))
        steps = projected.view(clips, frames, *projected.shape[1:])
        change = steps[:, 1::2] - steps[:, ::2] if pairs else steps[:, 1:] - steps[:, :-1]
        seen: Tensor = self.relu(self.bn(self.conv(change.flatten(0, 1))))
        return seen.view(clips, -1, *seen.shape[1:])


class Difference(Changes):
    """Apparent difference (our reading) that classifies the change."""

    def __init__(self, channels: int, inner: int, num_classes: int) -> None:
        super().__init__(channels, inner)
        self.fc = last_linear(inner, num_classes)

    def forward(self, maps: Tensor, *, pairs: bool) -> Tensor:
        """Maps [B, C, T, h, w] -> logits [B, K]."""
        logits: Tensor = self.fc(self.changes(maps, pairs=pairs).mean((3, 4)))
        return logits.mean(1)


class FlowDifference(Changes):
    """Apparent difference (our reading) that predicts the optical flow from the change."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__(channels, inner)
        self.flow = nn.Conv2d(inner, 2, 1)  # torch's initialisation: by fan-out, it would start at hundreds of pixels

    def forward(self, maps: Tensor, *, pairs: bool) -> Tensor:
        """Maps [B, C, T, h, w] -> flow [B, 2, T/2, h, w], x before y, in `FLOW_UNIT`s."""
        changes = self.changes(maps, pairs=pairs)
        flow: Tensor = self.flow(changes.flatten(0, 1))
        return flow.view(*changes.shape[:2], *flow.shape[1:]).transpose(1, 2)


def flow_error(predicted: Tensor, flow: Tensor | None, sample_weights: Tensor | None) -> Tensor:
    """Return the mean squared error of a predicted flow [B, 2, K, h, w], weighted by [B], in float32.

    Args:
        predicted: in `FLOW_UNIT`s.
        flow: [B, 2, K, H, W] in pixels per frame; averaged over the pixels that a position of the map covers.
        sample_weights: as in `Network.losses`.

    Raises:
        ModelError: the flow is missing or has another number of pairs.
    """
    if flow is None or flow.shape[:3] != predicted.shape[:3]:
        clips, _, pairs = predicted.shape[:3]
        raise ModelError(
            "stin_spatial with ad_target=flow is trained with the flow between the frames of each pair, "
            f"[{clips}, 2, {pairs}, H, W]; got {None if flow is None else list(flow.shape)}"
        )
    height, width = predicted.shape[3:]
    target = F.adaptive_avg_pool2d(flow.float().flatten(0, 2), (height, width)).view(predicted.shape) / FLOW_UNIT
    return weighted_mean((predicted.float() - target).square().mean((1, 2, 3, 4)), sample_weights)


class SelfAttention(nn.Module):
    """Non-local block over the positions of a snippet's map; the identity at the start.

    Equations (3) and (4) of docs/papers/stin.md, section 4.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = conv(channels, inner, 1)
        self.key = conv(channels, inner, 1)
        self.value = conv(channels, inner, 1)
        self.out = conv(inner, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn.weight)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [N, C, h, w] -> the attended maps, and the mean attention to each position, [N, h*w], summing to 1."""
        query, key, value = (layer(maps).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attention = (query @ key.transpose(1, 2) / math.sqrt(query.shape[2])).softmax(2)
        attended = (attention @ value).transpose(1, 2).reshape(maps.shape[0], -1, *maps.shape[2:])
        return maps + self.bn(self.out(attended)), attention.mean(1)


class MapPooling(nn.Module):
    """Classifier of features pooled by the attention map. For training only."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = last_linear(channels, num_classes)

    def forward(self, maps: Tensor, attention: Tensor | None) -> Tensor:
        """Maps [N, C, h, w] and attention [N, h*w] -> logits [N, K]."""
        assert attention is not None
        logits: Tensor = self.fc((maps.flatten(2) * attention[:, None]).sum(2))
        return logits


class AttentionalPooling(nn.Module):
    """Bottom-up times top-down attention (Girdhar and Ramanan, NeurIPS 2017). For training only."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.bottom_up = nn.Conv2d(channels, 1, 1)
        self.top_down = nn.Conv2d(channels, num_classes, 1)
        for layer in (self.bottom_up, self.top_down):
            nn.init.normal_(layer.weight, std=0.001)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Tensor, attention: Tensor | None) -> Tensor:
        """Maps [N, C, h, w] -> logits [N, K]."""
        logits: Tensor = (self.bottom_up(maps) * self.top_down(maps)).mean((2, 3))
        return logits
