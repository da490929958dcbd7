"""X3D, a narrow 3-D network of depthwise convolutions with PyTorchVideo's names (docs/papers/backbones.md, section 4).

C. Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020; layers and initialisation
as in the author's public code. MTNet shares X3D's stem, widths and depths.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones import head_windows
from models.backbones.resnet3d import repeat_ends
from models.common.checks import rate
from models.common.network import CHANNELS, Group, Network, fold, last_linear, unfold
from models.common.options import Options


class X3DLayout(NamedTuple):
    """Widths and depths of an X3D."""

    widths: tuple[int, int, int, int]
    """Output channels of each stage; the stem has as many as the first."""
    depths: tuple[int, int, int, int]
    """Blocks of each stage."""
    features: int = 2048
    """Channels before the last linear layer."""


MEDIUM = X3DLayout((24, 48, 96, 192), (3, 5, 11, 7))
"""S and M, which differ only in their input."""
LARGE = MEDIUM._replace(depths=(5, 10, 25, 15))
TINY = X3DLayout((16, 24, 32, 48), (1, 2, 3, 2), 256)
TINY_LARGE = TINY._replace(depths=(2, 3, 6, 4))


def inner(width: int) -> int:
    """Return the channels inside a block with `width` outputs."""
    return int(2.25 * width)


@dataclass(frozen=True, kw_only=True)
class X3DOptions(Options):
    """Options of `x3d_s` and `x3d_m`."""

    TINY: ClassVar = {"dropout": 0.0}

    dropout: float = 0.5
    """Dropout before the last linear layer, in [0, 1)."""
    head_window: tuple[int, ...] = ()
    """Frames, height and width of the windows of the last map that the head scores one by one, their probabilities
    averaged; PyTorchVideo's are (13, 5, 5), (16, 7, 7), (16, 10, 10) for S, M, L. Empty: one, the whole map."""

    def __post_init__(self) -> None:
        rate(self, "dropout")
        head_windows.check(self.head_window)

    @property
    def layout(self) -> X3DLayout:
        return TINY if self.tiny else MEDIUM


@dataclass(frozen=True, kw_only=True)
class X3DLOptions(X3DOptions):
    """Options of `x3d_l`."""

    @property
    def layout(self) -> X3DLayout:
        return TINY_LARGE if self.tiny else LARGE


class X3D(Network):
    """[B, C, T, H, W] -> [B, K], any T; time is never strided. 3,794,274 parameters for 400 classes.

    1.963 GMACs at 13x160 (S), 4.732 at 16x224 (M).
    """

    Options = X3DOptions
    classifier: ClassVar = "blocks.5.proj"

    def __init__(self, num_classes: int, *, stream: str, options: X3DOptions) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        widths, depths, features = options.layout
        stages = [
            _stage(inputs, outputs, depth)
            for (inputs, outputs), depth in zip(pairwise((widths[0], *widths)), depths, strict=True)
        ]
        stem = Stem(CHANNELS[stream], widths[0])
        head = Head(widths[-1], features, num_classes, options.dropout, options.head_window)
        self.blocks = nn.ModuleList([stem, *stages, head])

    @property
    def head(self) -> Head:
        """The last of its blocks."""
        head = self.blocks[-1]
        assert isinstance(head, Head)
        return head

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map that the head averages, [B, 432, T, H/32, W/32]."""
        self.check(clip)
        x = clip
        for block in self.blocks[:-1]:
            x = block(x)
        return self.head.widen(x)

    def parameter_groups(self) -> list[Group]:
        """Return groups at one rate, without weight decay for norms, as in the author's code."""
        return self.even_groups("norm")

    def forward(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> logits [B, K]."""
        logits: Tensor = self.head(self.forward_features(clip))
        return logits


class X3DL(X3D):
    """`X3D` with more blocks. 6,153,384 parameters for 400 classes, 18.368 GMACs at 16x312."""

    Options = X3DLOptions


class Stem(nn.Module):
    """[B, inputs, T, H, W] -> [B, outputs, T, H/2, W/2]."""

    def __init__(self, inputs: int, outputs: int, *, repeat_ends: bool = False) -> None:
        super().__init__()
        # The public names are swapped: `conv_t` is the spatial convolution and `conv_xy` the temporal one.
        self.conv = nn.Sequential(
            OrderedDict(
                conv_t=Conv(inputs, outputs, (1, 3, 3), stride=2),
                conv_xy=Conv(outputs, outputs, (5, 1, 1), groups=outputs, repeat_ends=repeat_ends),
            )
        )
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.over_time(self.by_frame(x))

    def by_frame(self, x: Tensor) -> Tensor:
        """Convolve each frame by itself: [B, inputs, T, H, W] -> [B, outputs, T, H/2, W/2]."""
        planes: Tensor = self.conv[0](x)
        return planes

    def over_time(self, planes: Tensor) -> Tensor:
        """Convolve what `by_frame` returns along time; the same shape."""
        return F.relu(self.norm(self.conv[1](planes)), inplace=True)


def _stage(inputs: int, outputs: int, depth: int) -> nn.Module:
    """Make `depth` blocks; the first halves height and width, and every second one, from the first on, has an SE."""
    blocks = [
        X3DBlock(outputs if index else inputs, outputs, 1 if index else 2, squeezed=index % 2 == 0)
        for index in range(depth)
    ]
    return nn.Sequential(OrderedDict(res_blocks=nn.Sequential(*blocks)))


class X3DBlock(nn.Module):
    """A bottleneck and a shortcut. [B, inputs, T, h, w] -> [B, outputs, T, h/stride, w/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, squeezed: bool) -> None:
        super().__init__()
        self.branch1_conv: nn.Module = nn.Identity()
        self.branch1_norm: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.branch1_conv = Conv(inputs, outputs, (1, 1, 1), stride)
        if inputs != outputs:
            self.branch1_norm = nn.BatchNorm3d(outputs)
        self.branch2 = Bottleneck(inputs, outputs, stride, squeezed=squeezed)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch1_norm(self.branch1_conv(x)) + self.branch2(x), inplace=True)


class Bottleneck(nn.Module):
    """1x1x1, depthwise 3x3x3 (with the stride), 1x1x1. [B, inputs, T, h, w] -> [B, outputs, T, h/stride, w/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, squeezed: bool) -> None:
        super().__init__()
        width = inner(outputs)
        self.conv_a = Conv(inputs, width, (1, 1, 1))
        self.norm_a = nn.BatchNorm3d(width)
        self.conv_b = Conv(width, width, (3, 3, 3), stride, groups=width)
        self.norm_b = nn.Sequential(nn.BatchNorm3d(width), SE(width) if squeezed else nn.Identity())
        self.conv_c = Conv(width, outputs, (1, 1, 1))
        self.norm_c = nn.BatchNorm3d(outputs)
        nn.init.zeros_(self.norm_c.weight)  # the block starts as its shortcut

    def forward(self, x: Tensor) -> Tensor:
        u = F.relu(self.norm_a(self.conv_a(x)), inplace=True)
        u = F.silu(self.norm_b(self.conv_b(u)))
        branch: Tensor = self.norm_c(self.conv_c(u))
        return branch


class SE(nn.Module):
    """Squeeze and excitation: channels gated by their means over the whole clip. [B, C, T, h, w] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = squeeze(channels)
        layers = [nn.Conv3d(channels, reduced, 1), nn.Conv3d(reduced, channels, 1)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.block = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1], nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gates: Tensor = self.block(x.mean((2, 3, 4), keepdim=True))
        return x * gates


def squeeze(channels: int) -> int:
    """Return the inner channels of an SE: a sixteenth, rounded to a multiple of 8 but at most a tenth less."""
    sixteenth = channels / 16
    rounded = max(8, int(sixteenth + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * sixteenth else rounded + 8


class Head(nn.Module):
    """Projection, mean over T, h and w, projection, dropout, linear layer. [B, 432, T, h, w] -> [B, K]."""

    def __init__(self, inputs: int, features: int, num_classes: int, dropout: float, window: tuple[int, ...]) -> None:
        super().__init__()
        width = inner(inputs)
        self.window = window
        self.pool = nn.ModuleDict(
            {
                "pre_conv": Conv(inputs, width, (1, 1, 1)),
                "pre_norm": nn.BatchNorm3d(width),
                "post_conv": Conv(width, features, (1, 1, 1)),
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.proj = last_linear(features, num_classes, std=0.01)

    def widen(self, x: Tensor) -> Tensor:
        """[B, 192, T, h, w] -> [B, 432, T, h, w]."""
        return F.relu(self.pool["pre_norm"](self.pool["pre_conv"](x)), inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        pooled = head_windows.means(x, self.window)
        features = F.relu(self.pool["post_conv"](pooled).flatten(2), inplace=True)
        logits: Tensor = self.proj(self.dropout(features.transpose(1, 2)))
        if not self.window:
            return logits[:, 0]
        return logits.log_softmax(2).logsumexp(1)  # whose softmax is the mean of the windows' probabilities


class Conv(nn.Conv3d):
    """`nn.Conv3d` without bias that keeps the size at stride 1, by 2-D convolutions in channels-last memory.

    [B, inputs, T, h, w] -> [B, outputs, T, h/stride, w/stride]. On a CPU, PyTorch's own is several times slower when
    depthwise, and leaves channels-last memory when 1x1x1. The kernel is (T, 1, 1), (1, S, S) or (3, S, S), the
    stride spatial. Initialised as in the public code: by the fan-out of all outputs, also when depthwise. A kernel
    (T, 1, 1) sees zeros beyond the ends of a clip or, with `repeat_ends`, the first and the last frame again.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int],
        stride: int = 1,
        *,
        groups: int = 1,
        repeat_ends: bool = False,
    ) -> None:
        depth, height, width = kernel
        padding = (depth // 2, height // 2, width // 2)
        super().__init__(inputs, outputs, kernel, (1, stride, stride), padding, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.repeat_ends = repeat_ends

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[1] == 1 and self.kernel_size[1:] == (1, 1):
            padding = (self.kernel_size[0] // 2, 0)
            if self.repeat_ends:
                x, padding = repeat_ends(x, padding[0]), (0, 0)
            rows = F.conv2d(x.flatten(3), self.weight.flatten(3), padding=padding, groups=self.groups)
            return rows.reshape(*rows.shape[:3], *x.shape[3:])
        taps = self.weight.unbind(2)
        if len(taps) > 1 and not torch.is_grad_enabled():
            return super().forward(x)  # in channels-last memory only its gradient is slow
        frames = fold(x)
        maps = [
            unfold(F.conv2d(frames, tap, None, self.stride[1:], self.padding[1:], groups=self.groups), x.shape[2])
            for tap in taps
        ]
        return (maps[0] if len(maps) == 1 else _gather(*maps)).permute(0, 4, 1, 2, 3)


def _gather(before: Tensor, present: Tensor, after: Tensor) -> Tensor:
    """Sum the maps [B, T, H, W, C] of three taps, each shifted to its frames."""
    still = (0, 0) * 3
    return present + F.pad(before, (*still, 1, -1)) + F.pad(after, (*still, -1, 1))
