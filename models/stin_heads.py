"""What STIN adds to its trunks: differences of neighbouring maps, attention and its pooling (papers/stin.md)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from models.backbones.resnet import conv
from models.network import classifier


class Difference(nn.Module):
    """Apparent difference (our reading): classify the change from one map to the next. Training only."""

    def __init__(self, channels: int, inner: int, num_classes: int) -> None:
        super().__init__()
        self.project = conv(channels, inner, 1)
        self.bn_project = nn.BatchNorm2d(inner)
        self.conv = conv(inner, inner, 3)
        self.bn = nn.BatchNorm2d(inner)
        self.relu = nn.ReLU(inplace=True)
        self.fc = classifier(inner, num_classes)

    def forward(self, maps: Tensor, *, pairs: bool) -> Tensor:
        """Maps [B, C, T, h, w] -> logits [B, K]: of frames 0 and 1, 2 and 3, ... (pairs), or of each and the next."""
        logits: Tensor = self.fc(self.changes(maps, pairs=pairs).mean((3, 4)))
        return logits.mean(1)

    def changes(self, maps: Tensor, *, pairs: bool) -> Tensor:
        """D, [B, T/2 or T-1, inner, h, w]."""
        clips, frames = maps.shape[0], maps.shape[2]
        projected: Tensor = self.bn_project(self.project(maps.transpose(1, 2).flatten(0, 1)))
        steps = projected.view(clips, frames, *projected.shape[1:])
        change = steps[:, 1::2] - steps[:, ::2] if pairs else steps[:, 1:] - steps[:, :-1]
        seen: Tensor = self.relu(self.bn(self.conv(change.flatten(0, 1))))
        return seen.view(clips, -1, *seen.shape[1:])


class SelfAttention(nn.Module):
    """Non-local block over the positions of one snippet's map; adds nothing at the start."""

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
    """Classify features pooled by the attention map. Training only."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = classifier(channels, num_classes)

    def forward(self, maps: Tensor, attention: Tensor | None) -> Tensor:
        """Maps [N, C, h, w] and attention [N, h*w] -> logits [N, K]."""
        assert attention is not None
        logits: Tensor = self.fc((maps.flatten(2) * attention[:, None]).sum(2))
        return logits


class AttentionalPooling(nn.Module):
    """Bottom-up times top-down attention (Girdhar and Ramanan, NeurIPS 2017). Training only."""

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
