"""BN-Inception over single frames, TSN's first trunk (Ioffe and Szegedy 2015; docs/papers/backbones.md, section 6).

Layers are named as in the public ImageNet weights (TSN's Caffe model, as tsn-pytorch and pretrained-models.pytorch
converted it), so that their file loads unchanged. They expect values in 0..255 minus a mean, in the order BGR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.common.network import CHANNELS, FrameNetwork, fold, unfold

MEAN = {"rgb": (128 / 255, 117 / 255, 104 / 255), "flow": (128 / 255,)}
"""Means of clips, as in `Description`: red, green, blue; the network reverses the order itself."""
STD = {"rgb": (1 / 255, 1 / 255, 1 / 255), "flow": (1 / 255,)}


class Unit(NamedTuple):
    """A convolution with bias, batch norm and ReLU."""

    name: str
    outputs: int
    kernel: int = 1
    stride: int = 1


class Inception(NamedTuple):
    """Channels of the parallel branches of one module."""

    inputs: int
    single: int
    """1x1 branch; 0 where the module halves the map."""
    double: tuple[int, int]
    """1x1 and 3x3."""
    triple: tuple[int, int]
    """1x1, and each of two 3x3."""
    projected: int
    """1x1 after the pool; 0 where the pool's output is passed on as it is."""
    pool: str

    @property
    def stride(self) -> int:
        """2 where the module halves the map."""
        return 1 if self.single else 2

    def branches(self) -> list[list[Unit]]:
        """Return the units of each branch except the pool's, in the order of their outputs."""
        (reduce, double), (reduce3, triple), stride = self.double, self.triple, self.stride
        single = [[Unit("1x1", self.single)]] if self.single else []
        return [
            *single,
            [Unit("3x3_reduce", reduce), Unit("3x3", double, 3, stride)],
            [
                Unit("double_3x3_reduce", reduce3),
                Unit("double_3x3_1", triple, 3),
                Unit("double_3x3_2", triple, 3, stride),
            ],
        ]

    def projection(self) -> list[Unit]:
        """Return the units after the pool."""
        return [Unit("pool_proj", self.projected)] if self.projected else []

    def pooled(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] -> [N, inputs, h/stride, w/stride]."""
        if self.stride == 2:
            # Odd maps, which the public network cannot halve, are rounded up as in the parallel convolutions.
            return F.max_pool2d(x, 3, 2, (x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)
        pool = F.avg_pool2d if self.pool == "avg" else F.max_pool2d
        return pool(x, 3, 1, 1)


STEM = ([Unit("conv1_7x7_s2", 64, 7, 2)], [Unit("conv2_3x3_reduce", 64), Unit("conv2_3x3", 192, 3)])
"""Units before each of the first two pools."""
MODULES = {
    "inception_3a": Inception(192, 64, (64, 64), (64, 96), 32, "avg"),
    "inception_3b": Inception(256, 64, (64, 96), (64, 96), 64, "avg"),
    "inception_3c": Inception(320, 0, (128, 160), (64, 96), 0, "max"),
    "inception_4a": Inception(576, 224, (64, 96), (96, 128), 128, "avg"),
    "inception_4b": Inception(576, 192, (96, 128), (96, 128), 128, "avg"),
    "inception_4c": Inception(576, 160, (128, 160), (128, 160), 128, "avg"),
    "inception_4d": Inception(608, 96, (128, 192), (160, 192), 128, "avg"),
    "inception_4e": Inception(608, 0, (128, 192), (192, 256), 0, "max"),
    "inception_5a": Inception(1056, 352, (192, 320), (160, 224), 128, "avg"),
    "inception_5b": Inception(1024, 352, (192, 320), (192, 224), 128, "max"),
}
CHANNELS_OUT = 1024


class BNInception(FrameNetwork):
    """BN-Inception for every frame. 10,680,240 parameters for 400 classes, 2.03 GMACs per frame at 224.

    Clips are normalised by `MEAN` and `STD`: red, green and blue minus their means, on a scale of 255.
    """

    def __init__(self, num_classes: int, *, stream: str, options: Any, dropout: float) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        channels = CHANNELS[stream]
        for units in STEM:
            channels = self._add("", channels, units)
        for name, module in MODULES.items():
            for units in [*module.branches(), module.projection()]:
                self._add(f"{name}_", module.inputs, units)
        self.add_classifier(CHANNELS_OUT, dropout)

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling, [B, 1024, T, H/32, W/32]."""
        self.check(clip)
        frames = clip.shape[2]
        x = fold(clip.flip(1) if self.stream == "rgb" else clip)
        for units in STEM:
            x = F.max_pool2d(self._run("", units, x), 3, 2, ceil_mode=True)
        for name, module in MODULES.items():
            outputs = [self._run(f"{name}_", units, x) for units in module.branches()]
            x = torch.cat([*outputs, self._run(f"{name}_", module.projection(), module.pooled(x))], 1)
        return unfold(x, frames).permute(0, 4, 1, 2, 3)

    def _add(self, prefix: str, channels: int, units: list[Unit]) -> int:
        """Add a chain of units to an input of `channels`; return the channels of its output."""
        for unit in units:
            layer = nn.Conv2d(channels, unit.outputs, unit.kernel, unit.stride, unit.kernel // 2)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            self.add_module(prefix + unit.name, layer)
            self.add_module(f"{prefix}{unit.name}_bn", nn.BatchNorm2d(unit.outputs))
            channels = unit.outputs
        return channels

    def _run(self, prefix: str, units: list[Unit], x: Tensor) -> Tensor:
        for unit in units:
            name = prefix + unit.name
            x = F.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)), inplace=True)
        return x
