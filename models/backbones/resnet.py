"""ResNet v1.5 over single frames, with torchvision's key names (He et al. 2016; docs/papers/backbones.md, section 1).

Networks built on a ResNet replace its block: by a class like `Bottleneck`, made by a `BlockFactory`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from models.common.checks import rate
from models.common.errors import ModelError
from models.common.network import CHANNELS, FrameNetwork, fold, unfold
from models.common.options import Options


class Layout(NamedTuple):
    """Widths and depths of a ResNet."""

    stem: int
    """Channels after the first convolution."""
    planes: tuple[int, int, int, int]
    """Inner channels of each stage's blocks."""
    blocks: tuple[int, int, int, int]


LAYOUTS = {
    18: Layout(64, (64, 128, 256, 512), (2, 2, 2, 2)),
    34: Layout(64, (64, 128, 256, 512), (3, 4, 6, 3)),
    50: Layout(64, (64, 128, 256, 512), (3, 4, 6, 3)),
    101: Layout(64, (64, 128, 256, 512), (3, 4, 23, 3)),
    152: Layout(64, (64, 128, 256, 512), (3, 8, 36, 3)),
}
TINY = Layout(16, (16, 32, 48, 64), (1, 2, 2, 1))


@dataclass(frozen=True, kw_only=True)
class ResNetOptions(Options):
    """Options of every network built on a ResNet."""

    depth: Literal[50, 101, 152] = 50
    """Layers of the ResNet; `tiny` has its own depth."""
    dropout: float | None = None
    """Dropout before the last linear layer, in [0, 1); None: the network's own default."""

    @property
    def layout(self) -> Layout:
        return TINY if self.tiny else LAYOUTS[self.depth]

    def __post_init__(self) -> None:
        if self.tiny and self.depth != 50:
            raise ModelError(f"depth={self.depth} and tiny=True exclude each other")
        rate(self, "dropout")


@dataclass(frozen=True, kw_only=True)
class StagedOptions(ResNetOptions):
    """Options of networks with their own block."""

    stages: tuple[int, ...] = (1, 2, 3, 4)
    """Stages with the network's own block; the others have the ResNet's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.stages) <= {1, 2, 3, 4}:
            raise ModelError(f"stages must be among 1, 2, 3, 4, not {self.stages}")


class Place(NamedTuple):
    """Position of a block in a ResNet."""

    inputs: int
    """Channels of its input."""
    planes: int
    stride: int
    stage: int
    """1 to 4."""


class FrameBlock(nn.Module):
    """[B*T, inputs, h, w] and T -> [B*T, outputs, h/stride, w/stride]; row b*T + t is frame t of clip b."""

    outputs: int


BlockFactory = Callable[[Place], FrameBlock]


class Bottleneck(FrameBlock):
    """1x1, 3x3 (with the stride), 1x1, and a shortcut. Networks replace `middle`, or `conv2` alone."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        inputs, planes, stride, _ = place
        self.outputs = 4 * planes
        self.conv1 = conv(inputs, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv(planes, self.outputs, 1)
        self.bn3 = nn.BatchNorm2d(self.outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != self.outputs:
            self.downsample = nn.Sequential(conv(inputs, self.outputs, 1, stride), nn.BatchNorm2d(self.outputs))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return self.add_shortcut(x, self.branch(x, frames))

    def branch(self, x: Tensor, frames: int) -> Tensor:
        """[B*T, inputs, h, w] -> [B*T, outputs, h/stride, w/stride]: everything but the shortcut."""
        u: Tensor = self.relu(self.bn1(self.conv1(x)))
        branch: Tensor = self.bn3(self.conv3(self.middle(u, frames)))
        return branch

    def add_shortcut(self, x: Tensor, branch: Tensor) -> Tensor:
        """Add the shortcut of x to the branch."""
        joined: Tensor = self.relu(branch + self.downsample(x))
        return joined

    def middle(self, u: Tensor, frames: int) -> Tensor:
        """[B*T, planes, h, w] -> [B*T, planes, h/stride, w/stride]: what is between the 1x1 convolutions."""
        return self.relu(self.bn2(self.conv2(u)))


def staged(block: Callable[[Place, Any], FrameBlock], options: StagedOptions) -> BlockFactory:
    """Return the factory that uses `block` in the stages that the options name."""
    return lambda place: block(place, options) if place.stage in options.stages else Bottleneck(place)


class BasicBlock(FrameBlock):
    """Two 3x3 convolutions, the first with the stride, and a shortcut: the block of ResNet-18 and -34."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        inputs, planes, stride, _ = place
        self.outputs = planes
        self.conv1 = conv(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != planes:
            self.downsample = nn.Sequential(conv(inputs, planes, 1, stride), nn.BatchNorm2d(planes))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        branch: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        summed: Tensor = self.relu(branch + self.downsample(x))
        return summed


class ResNet(FrameNetwork):
    """A ResNet of the given blocks, applied to every frame."""

    stem_pool: ClassVar[bool] = True
    """Max-pooling after the first convolution; without it, the first stage has a stride of 2 instead."""

    def __init__(self, num_classes: int, *, stream: str, options: Any, block: BlockFactory, dropout: float) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        layout: Layout = options.layout
        self.conv1 = conv(CHANNELS[stream], layout.stem, 7, 2)
        self.bn1 = nn.BatchNorm2d(layout.stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if self.stem_pool else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4, channels = _stages(layout, block, self.stem_pool)
        self.add_classifier(channels, dropout)

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling, [B, channels, T, H/32, W/32]."""
        return self.forward_stages(clip)[1]

    def forward_stages(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T, H, W] -> the maps of the third and the fourth stage, [B, channels, T, h, w]."""
        self.check(clip)
        frames = clip.shape[2]
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(fold(clip)))))
        maps = []
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x, frames)
            maps.append(unfold(x, frames).permute(0, 4, 1, 2, 3))
        return maps[2], maps[3]

    @property
    def third_stage_channels(self) -> int:
        """Channels of the third stage's map."""
        block = self.layer3[-1]
        assert isinstance(block, FrameBlock)
        return block.outputs


def _stages(
    layout: Layout, block: BlockFactory, stem_pool: bool
) -> tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList, nn.ModuleList, int]:
    """Make the four stages; return them and the channels of the last."""
    stages = []
    channels = layout.stem
    for stage, (planes, count) in enumerate(zip(layout.planes, layout.blocks, strict=True), 1):
        blocks = nn.ModuleList()
        for index in range(count):
            stride = 2 if index == 0 and (stage > 1 or not stem_pool) else 1
            added = block(Place(channels, planes, stride, stage))
            blocks.append(added)
            channels = added.outputs
        stages.append(blocks)
    first, second, third, fourth = stages
    return first, second, third, fourth, channels


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution without bias that keeps the size at stride 1, initialised as in torchvision's ResNet."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
