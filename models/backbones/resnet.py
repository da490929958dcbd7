"""ResNet v1.5 over single frames, with torchvision's key names (He et al. 2016; papers/backbones.md section 1).

Networks that live in a ResNet bring their own block: a class like `Bottleneck` behind a `BlockFactory`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from models.errors import ModelError
from models.network import CHANNELS, Network, fold, unfold
from models.options import Options


@dataclass(frozen=True, kw_only=True)
class ResNetOptions(Options):
    """Options of every network in a ResNet."""

    depth: Literal[50, 101, 152] = 50
    """Layers of the ResNet; `tiny` has a depth of its own."""
    dropout: float | None = None
    """Before the last linear layer, in [0, 1); None is the network's own choice."""

    def __post_init__(self) -> None:
        if self.tiny and self.depth != 50:
            raise ModelError(f"depth={self.depth} and tiny=True exclude each other.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ModelError(f"dropout={self.dropout} is not right; it lies in [0, 1).")


class Layout(NamedTuple):
    """What makes one ResNet larger than another."""

    stem: int
    """Channels after the first convolution."""
    planes: tuple[int, int, int, int]
    """Inner channels of each stage's blocks."""
    blocks: tuple[int, int, int, int]


LAYOUTS = {
    50: Layout(64, (64, 128, 256, 512), (3, 4, 6, 3)),
    101: Layout(64, (64, 128, 256, 512), (3, 4, 23, 3)),
    152: Layout(64, (64, 128, 256, 512), (3, 8, 36, 3)),
}
TINY = Layout(16, (16, 32, 48, 64), (1, 2, 2, 1))


class Place(NamedTuple):
    """Where a block stands."""

    inputs: int
    """Channels of its input."""
    planes: int
    stride: int
    stage: int
    """1 to 4."""


class Block(nn.Module):
    """[B*T, inputs, h, w] and T -> [B*T, outputs, h/stride, w/stride]; row b*T + t is frame t of clip b."""

    outputs: int


BlockFactory = Callable[[Place], Block]


class Bottleneck(Block):
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
        """The block's sum."""
        u: Tensor = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn3(self.conv3(self.middle(u, frames))) + self.downsample(x))

    def middle(self, u: Tensor, frames: int) -> Tensor:
        """[B*T, planes, h, w] -> [B*T, planes, h/stride, w/stride]: what stands between the 1x1 convolutions."""
        return self.relu(self.bn2(self.conv2(u)))


class ResNet(Network):
    """Each frame gets its logits from a ResNet of the given blocks; a clip's logits are their mean over T."""

    def __init__(
        self, num_classes: int, *, stream: str, options: ResNetOptions, block: BlockFactory, dropout: float
    ) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        layout = TINY if options.tiny else LAYOUTS[options.depth]
        self.conv1 = conv(CHANNELS[stream], layout.stem, 7, 2)
        self.bn1 = nn.BatchNorm2d(layout.stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2, self.layer3, self.layer4, channels = _stages(layout, block)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> logits [B, K]."""
        pooled = self.forward_features(clip).mean((3, 4)).transpose(1, 2)
        return self.fc(self.dropout(pooled)).mean(1)

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling, [B, channels, T, H/32, W/32]."""
        self.check(clip)
        frames = clip.shape[2]
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(fold(clip)))))
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x, frames)
        return unfold(x, frames).permute(0, 4, 1, 2, 3)


def _stages(
    layout: Layout, block: BlockFactory
) -> tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList, nn.ModuleList, int]:
    """The four stages, and the channels of the last."""
    stages = []
    channels = layout.stem
    for stage, (planes, count) in enumerate(zip(layout.planes, layout.blocks, strict=True), 1):
        blocks = nn.ModuleList()
        for index in range(count):
            stride = 2 if index == 0 and stage > 1 else 1
            added = block(Place(channels, planes, stride, stage))
            blocks.append(added)
            channels = added.outputs
        stages.append(blocks)
    first, second, third, fourth = stages
    return first, second, third, fourth, channels


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1, initialised as torchvision's ResNet."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
