"""3-D ResNets: SlowOnly (expansion 4, no temporal stride) and the ResNet-50 of MTNet's comparison (expansion 1).

C. Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, the slow pathway alone
(docs/papers/backbones.md, section 2); A. Stergiou, R. Poppe, "Multi-Temporal Convolutions", IJCNN 2021
(docs/papers/mtnet.md, section 5). Layers have torchvision's names, so that 2-D ImageNet weights inflate into them: all
of SlowOnly's, and of expansion 1 those of the same width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones import head_windows
from models.common.checks import rate
from models.common.network import CHANNELS, ClipNetwork, Group
from models.common.options import Options

Kernel = tuple[int, int, int]
BLOCKS = (3, 4, 6, 3)
PLANES = (64, 128, 256, 512)
TINY_BLOCKS = (1, 1, 2, 1)
TINY_PLANES = (8, 16, 24, 32)
_PARTS = {"a": "1", "b": "2", "c": "3"}


@dataclass(frozen=True, kw_only=True)
class ResNet3DOptions(Options):
    """Options of 3-D ResNets."""

    TINY: ClassVar = {"dropout": 0.0}

    dropout: float = 0.5
    """Dropout before the last linear layer, in [0, 1)."""

    def __post_init__(self) -> None:
        rate(self, "dropout")

    @property
    def planes(self) -> tuple[int, ...]:
        """Inner channels of each stage's blocks."""
        return TINY_PLANES if self.tiny else PLANES

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        return TINY_BLOCKS if self.tiny else BLOCKS


@dataclass(frozen=True, kw_only=True)
class SlowOnlyOptions(ResNet3DOptions):
    """Options of `slowonly`."""

    head_window: tuple[int, ...] = (8, 7, 7)
    """Frames, height and width of the windows of the last map whose means the head scores, as PyTorchVideo's; larger
    than the map, or empty: one, the whole map."""

    def __post_init__(self) -> None:
        super().__post_init__()
        head_windows.check(self.head_window)


class Bottleneck3D(nn.Module):
    """Three convolutions and a shortcut. [B, inputs, T, h, w] -> [B, expansion * planes, ...], by the stride."""

    def __init__(
        self, inputs: int, planes: int, stride: Kernel, *, expansion: int, kernels: tuple[Kernel, Kernel, Kernel]
    ) -> None:
        super().__init__()
        self.outputs = expansion * planes
        self.conv1 = conv3d(inputs, planes, kernels[0])
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = conv3d(planes, planes, kernels[1], stride)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = conv3d(planes, self.outputs, kernels[2])
        self.bn3 = nn.BatchNorm3d(self.outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != (1, 1, 1) or inputs != self.outputs:
            shortcut = conv3d(inputs, self.outputs, (1, 1, 1), stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(self.outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        joined: Tensor = self.relu(y + self.downsample(x))
        return joined


class ResNet3D(ClipNetwork):
    """Stem, four stages, mean over time and space, linear layer. Subclasses define stem, pool and blocks."""

    Options: ClassVar[type[ResNet3DOptions]] = ResNet3DOptions
    stem: ClassVar[Kernel]
    """Kernel of the first convolution, which halves height and width."""

    def __init__(self, num_classes: int, *, stream: str, options: Any) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        planes: tuple[int, ...] = options.planes
        self.conv1 = self.first(CHANNELS[stream], planes[0], options)
        self.bn1 = nn.BatchNorm3d(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = self.pool()
        channels = planes[0]
        for stage in range(4):
            blocks = nn.Sequential()
            for index in range(options.blocks[stage]):
                made = self.block(channels, planes[stage], 2 if index == 0 and stage > 0 else 1, stage + 1, options)
                blocks.append(made)
                outputs = made.outputs
                assert isinstance(outputs, int)
                channels = outputs
            self.add_module(f"layer{stage + 1}", blocks)
        self.add_classifier(channels, options.dropout, std=0.01)

    @classmethod
    def first(cls, inputs: int, outputs: int, options: Any) -> nn.Conv3d:
        """Make the first convolution."""
        return conv3d(inputs, outputs, cls.stem, (1, 2, 2))

    @staticmethod
    def pool() -> nn.MaxPool3d:
        """Make the pool after the stem."""
        raise NotImplementedError

    @staticmethod
    def block(inputs: int, planes: int, stride: int, stage: int, options: Any) -> nn.Module:
        """Make a block of stage 1 to 4; it has an attribute `outputs`."""
        raise NotImplementedError

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling."""
        self.check(clip)
        x = self.maxpool(self.relu(self.bn1(self.conv1(clip))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        features: Tensor = x
        return features


class SlowOnly(ResNet3D):
    """[B, C, T, H, W] -> [B, K], any T. 32,454,096 parameters for 400 classes, 54.52 GMACs at 8x256.

    Time is never strided. The first convolutions of the last two stages' blocks see three frames, all others one.
    """

    Options = SlowOnlyOptions
    stem = (1, 7, 7)

    @staticmethod
    def pool() -> nn.MaxPool3d:
        return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    @staticmethod
    def block(inputs: int, planes: int, stride: int, stage: int, options: Any) -> nn.Module:
        first = (3, 1, 1) if stage > 2 else (1, 1, 1)
        kernels = (first, (1, 3, 3), (1, 1, 1))
        return Bottleneck3D(inputs, planes, (1, stride, stride), expansion=4, kernels=kernels)

    def classify(self, features: Tensor) -> Tensor:
        """[B, channels, T', h, w] -> logits [B, K]: the mean of the windows' scores is the score of their mean."""
        return self.fc(self.dropout(head_windows.mean_of_means(features, self.options.head_window)))

    def parameter_groups(self) -> list[Group]:
        """Return groups at one rate, without weight decay for norms, as in the authors' code."""
        return self.even_groups("norm")

    def adapted(self, name: str, value: Tensor) -> tuple[str, Tensor]:
        """Rename a tensor of PyTorchVideo's `slow_r50`."""
        name = re.sub(r"^blocks\.0\.conv\.", "conv1.", name)
        name = re.sub(r"^blocks\.0\.norm\.", "bn1.", name)
        name = re.sub(r"^blocks\.5\.proj\.", "fc.", name)
        name = re.sub(r"^blocks\.([1-4])\.res_blocks\.", r"layer\1.", name)
        name = name.replace(".branch1_conv.", ".downsample.0.").replace(".branch1_norm.", ".downsample.1.")
        name = re.sub(r"\.branch2\.conv_([abc])\.", lambda found: f".conv{_PARTS[found[1]]}.", name)
        return re.sub(r"\.branch2\.norm_([abc])\.", lambda found: f".bn{_PARTS[found[1]]}.", name), value


class R3D50(ResNet3D):
    """[B, C, T, H, W] -> [B, K], any T. 36,724,688 parameters for 400 classes, 26.47 GMACs at 16x224.

    Expansion 1; time is strided together with space. An ImageNet ResNet-50, of expansion 4, brings the stem and the 3x3
    convolutions, 92 % of the parameters; the pointwise ones are four times as wide there.
    """

    stem = (3, 7, 7)

    def parameter_groups(self) -> list[Group]:
        """Return one group of all parameters, as MTNet's authors have it."""
        return self.even_groups()

    @staticmethod
    def pool() -> nn.MaxPool3d:
        return nn.MaxPool3d(3, 2, 1)

    @staticmethod
    def block(inputs: int, planes: int, stride: int, stage: int, options: Any) -> nn.Module:
        kernels = ((1, 1, 1), (3, 3, 3), (1, 1, 1))
        return Bottleneck3D(inputs, planes, (stride, stride, stride), expansion=1, kernels=kernels)

    def may_differ(self, name: str) -> bool:
        return super().may_differ(name) or re.search(r"\.(conv1|conv3|bn3|downsample\.\d)\.", name) is not None


def conv3d(
    inputs: int,
    outputs: int,
    kernel: Kernel,
    stride: Kernel = (1, 1, 1),
    groups: int = 1,
    *,
    repeat_ends: bool = False,
) -> nn.Conv3d:
    """Make a convolution without bias that keeps the size at stride 1."""
    depth, height, width = (side // 2 for side in kernel)
    made = RepeatingConv3d if repeat_ends and depth else nn.Conv3d
    layer = made(inputs, outputs, kernel, stride, (depth, height, width), groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class RepeatingConv3d(nn.Conv3d):
    """`nn.Conv3d` that sees the first and the last frame again beyond a clip's ends, and zeros beyond its sides."""

    def forward(self, x: Tensor) -> Tensor:
        depth, height, width = (int(side) for side in self.padding)
        x = repeat_ends(x, depth)
        return F.conv3d(x, self.weight, self.bias, self.stride, (0, height, width), self.dilation, self.groups)


def repeat_ends(x: Tensor, frames: int) -> Tensor:
    """[B, C, T, ...] -> [B, C, T + 2 * frames, ...]: the first and the last frame again."""
    # Not torch's padding by replication, whose gradient has other bits each time on a GPU.
    first, last = (x.narrow(2, at, 1).expand(-1, -1, frames, *x.shape[3:]) for at in (0, x.shape[2] - 1))
    return torch.cat([first, x, last], 2)
