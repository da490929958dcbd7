"""BN-Inception over single frames, TSN's first trunk (Ioffe and Szegedy 2015; papers/backbones.md section 7)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.network import CHANNELS, FrameNetwork, fold, unfold


class Widths(NamedTuple):
    """Channels inside one inception module."""

    inputs: int
    single: int
    """1x1 branch; 0 where the module halves the map."""
    double: tuple[int, int]
    """1x1 and 3x3."""
    triple: tuple[int, int]
    """1x1, and each of two 3x3."""
    projected: int
    """1x1 behind the pool; 0 where the pool's output passes through."""
    pool: str


MODULES = {
    "inception_3a": Widths(192, 64, (64, 64), (64, 96), 32, "avg"),
    "inception_3b": Widths(256, 64, (64, 96), (64, 96), 64, "avg"),
    "inception_3c": Widths(320, 0, (128, 160), (64, 96), 0, "max"),
    "inception_4a": Widths(576, 224, (64, 96), (96, 128), 128, "avg"),
    "inception_4b": Widths(576, 192, (96, 128), (96, 128), 128, "avg"),
    "inception_4c": Widths(576, 160, (128, 160), (128, 160), 128, "avg"),
    "inception_4d": Widths(608, 96, (128, 192), (160, 192), 128, "avg"),
    "inception_4e": Widths(608, 0, (128, 192), (192, 256), 0, "max"),
    "inception_5a": Widths(1056, 352, (192, 320), (160, 224), 128, "avg"),
    "inception_5b": Widths(1024, 352, (192, 320), (192, 224), 128, "max"),
}
CHANNELS_OUT = 1024


class BNInception(FrameNetwork):
    """BN-Inception for every frame. 10,680,240 parameters for 400 classes, 2.03 GMACs a 224 frame.

    Clips are normalised as for the ResNets. The public ImageNet weights do not fit: they expect BGR in 0..255.
    """

    def __init__(self, num_classes: int, *, stream: str, options: Any, dropout: float) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        self.conv1 = unit(CHANNELS[stream], 64, 7, 2)
        self.conv2_reduce = unit(64, 64, 1)
        self.conv2 = unit(64, 192, 3)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception = nn.ModuleDict({name: Inception(widths) for name, widths in MODULES.items()})
        self.add_classifier(CHANNELS_OUT, dropout)

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling, [B, 1024, T, H/32, W/32]."""
        self.check(clip)
        frames = clip.shape[2]
        x: Tensor = self.pool(self.conv1(fold(clip)))
        x = self.pool(self.conv2(self.conv2_reduce(x)))
        for module in self.inception.values():
            x = module(x)
        return unfold(x, frames).permute(0, 4, 1, 2, 3)


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        inputs, single, (reduce, double), (reduce3, triple), projected, pool = widths
        stride = 1 if single else 2
        self.one_1x1 = unit(inputs, single, 1) if single else None
        self.one_3x3 = nn.Sequential(unit(inputs, reduce, 1), unit(reduce, double, 3, stride))
        self.two_3x3 = nn.Sequential(
            unit(inputs, reduce3, 1), unit(reduce3, triple, 3), unit(triple, triple, 3, stride)
        )
        if stride == 2:
            self.pool: nn.Module = nn.MaxPool2d(3, 2, ceil_mode=True)
        else:
            self.pool = nn.AvgPool2d(3, 1, 1) if pool == "avg" else nn.MaxPool2d(3, 1, 1)
        self.projected: nn.Module = unit(inputs, projected, 1) if projected else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] -> [N, sum of the branches, h/stride, w/stride]."""
        branches = [self.one_3x3(x), self.two_3x3(x), self.projected(self.pool(x))]
        return torch.cat(branches if self.one_1x1 is None else [self.one_1x1(x), *branches], 1)


def unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution with bias, batch norm, ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
