"""MTNet: blocks of multi-temporal convolutions with X3D's widths and depths, and MTConv in a 3-D ResNet-50.

A. Stergiou, R. Poppe, "Multi-Temporal Convolutions for Human Action Recognition in Videos", IJCNN 2021, with the
decisions of docs/papers/mtnet.md: the paper's text and the authors' code differ, and neither alone reproduces the
paper's tables.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet3d import R3D50, ResNet3DOptions, conv3d
from models.backbones.x3d import LARGE, MEDIUM, TINY, TINY_LARGE, Stem, X3DLayout, inner
from models.common.checks import at_least, rate
from models.common.errors import ModelError
from models.common.network import CHANNELS, ClipNetwork, Group
from models.common.options import Options
from models.mtnet.mtconv import MTConv, MTConvs, MTConvSettings, pool
from models.mtnet.recurrent_gate import Cell, RecurrentGate

ONE = (1, 1, 1)
THREE = (3, 3, 3)


@dataclass(frozen=True, kw_only=True)
class GateOptions(MTConvSettings):
    """Options of MTConv and of the gates after it."""

    cell: Cell = "gru"
    """Recurrent cell of the gates."""
    gru_layers: int = 1
    """Layers of the cell; one matches the published number of parameters, the text says two."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "gru_layers")
        if self.ratio is None:
            changed = [field for field in fields(GateOptions) if getattr(self, field.name) != field.default]
            idle = next((field.name for field in changed if field.name not in ("ratio", "ends")), None)
            if idle is not None:
                raise ModelError(f"{idle}={getattr(self, idle)} has no effect: ratio=None splits nothing")

    def gate(self, channels: int) -> nn.Module:
        """Make the gate of a block's channels; the identity where convolutions are plain."""
        if self.ratio is None:
            return nn.Identity()
        return RecurrentGate(channels, cell=self.cell, layers=self.gru_layers)


@dataclass(frozen=True, kw_only=True)
class MTNetOptions(GateOptions, Options):
    """Options of `mtnet_s` and `mtnet_m`."""

    stem_pool: Literal["triplet", "avg", "soft"] = "triplet"
    """How time is halved behind the stem: by selecting frames, or by pooling pairs."""
    compare: Literal["before", "after"] = "before"
    """Select the stem's frames by what they are before its temporal convolution, or after it."""
    dropout: float = 0.0
    """Dropout before the last linear layer, in [0, 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rate(self, "dropout")
        if self.stem_pool != "triplet" and self.compare != MTNetOptions.compare:
            raise ModelError(f"compare={self.compare} has no effect: stem_pool={self.stem_pool} compares nothing")

    @property
    def layout(self) -> X3DLayout:
        return TINY if self.tiny else MEDIUM

    def halve_time(self, x: Tensor, planes: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, C, T/2, h, w], given the map [B, C, T, H, W] before the temporal convolution."""
        if self.stem_pool != "triplet":
            return pool(x, self.stem_pool, pairs=True, plane=False)
        return self.select_frames(x, F.relu(planes.detach()) if self.compare == "before" else None)


@dataclass(frozen=True, kw_only=True)
class MTNetLOptions(MTNetOptions):
    """Options of `mtnet_l`."""

    @property
    def layout(self) -> X3DLayout:
        return TINY_LARGE if self.tiny else LARGE


class MTNet(ClipNetwork):
    """[B, C, T, H, W] -> [B, K], any T. 25,949,291 parameters for 200 classes, 8.504 GMACs at 16x224.

    Half of the T frames are kept after the stem, and each later stage strides time with space: 16 become 8, 4, 2, 1.
    """

    Options = MTNetOptions

    def __init__(self, num_classes: int, *, stream: str, options: MTNetOptions) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        widths, depths, _ = options.layout
        self.stem = Stem(CHANNELS[stream], widths[0], repeat_ends=options.ends == "repeat")
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.stages = nn.Sequential()
        for stage, ((inputs, outputs), depth) in enumerate(zip(pairwise((widths[0], *widths)), depths, strict=True)):
            for index in range(depth):
                stride = 2 if index == 0 and stage > 0 else 1
                self.stages.append(MTBlock(inputs if index == 0 else outputs, outputs, stride, options))
        last = inner(widths[-1])
        self.widen = conv3d(widths[-1], last, ONE)
        self.norm = nn.BatchNorm3d(last)
        self.add_classifier(last, options.dropout, std=0.01)

    def parameter_groups(self) -> list[Group]:
        """Return one group of all parameters, as the authors' code has it."""
        return self.even_groups()

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling, [B, 432, T/16, H/32, W/32]."""
        self.check(clip)
        planes = self.stem.by_frame(clip)
        x = self.options.halve_time(self.maxpool(self.stem.over_time(planes)), planes)
        return F.relu(self.norm(self.widen(self.stages(x))))


class MTNetL(MTNet):
    """`MTNet` with more blocks. 58,374,039 parameters for 200 classes, 17.067 GMACs at 16x224.

    The paper states 50.1 M, which no split of the layers that it describes yields (docs/papers/mtnet.md, section 8).
    """

    Options = MTNetLOptions


class MTBlock(nn.Module):
    """Four MTConvs, a gate and a shortcut. [B, inputs, T, h, w] -> [B, outputs, T/stride, h/stride, w/stride].

    Equation (5) of docs/papers/mtnet.md, section 4.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, options: GateOptions) -> None:
        super().__init__()
        width, strides = inner(outputs), (stride, stride, stride)
        changes = stride != 1 or inputs != outputs
        self.convs = MTConvs(
            MTConv(inputs, width, ONE, settings=options),
            MTConv(width, inputs, ONE, settings=options),
            MTConv(inputs, width, THREE, strides, settings=options),
            MTConv(width, outputs, ONE if changes else (1, 3, 3), settings=options, act=False),
        )
        self.gate = options.gate(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if changes:
            self.shortcut = MTConv(inputs, outputs, ONE, strides, settings=options, lateral=False, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.gate(self.convs(x)) + self.shortcut(x))


@dataclass(frozen=True, kw_only=True)
class MTConvR50Options(GateOptions, ResNet3DOptions):
    """Options of `mtconv_r50`."""

    def __post_init__(self) -> None:
        GateOptions.__post_init__(self)
        ResNet3DOptions.__post_init__(self)


class MTConvR50(R3D50):
    """`r3d50` with MTConv in place of its blocks' convolutions. 36,730,528 parameters for 400 classes, 21.70 GMACs."""

    Options = MTConvR50Options

    @classmethod
    def first(cls, inputs: int, outputs: int, options: Any) -> nn.Conv3d:
        first: nn.Conv3d = options.conv(inputs, outputs, cls.stem, (1, 2, 2))
        return first

    @staticmethod
    def block(inputs: int, planes: int, stride: int, stage: int, options: Any) -> nn.Module:
        return MTBottleneck(inputs, planes, stride, options)


class MTBottleneck(nn.Module):
    """Three MTConvs, a gate and a shortcut. [B, inputs, T, h, w] -> [B, planes, T/stride, h/stride, w/stride]."""

    def __init__(self, inputs: int, planes: int, stride: int, options: GateOptions) -> None:
        super().__init__()
        strides = (stride, stride, stride)
        self.outputs = planes
        self.convs = MTConvs(
            MTConv(inputs, planes, ONE, settings=options),
            MTConv(planes, planes, THREE, strides, settings=options),
            MTConv(planes, planes, ONE, settings=options, act=False),
        )
        self.gate = options.gate(planes)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != planes:
            self.shortcut = MTConv(inputs, planes, ONE, strides, settings=options, lateral=False, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.gate(self.convs(x)) + self.shortcut(x))
