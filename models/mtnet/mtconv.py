"""MTConv: a 3-D convolution in which some of the channels see a longer, coarser stretch of the clip.

A. Stergiou, R. Poppe, "Multi-Temporal Convolutions for Human Action Recognition in Videos", IJCNN 2021, with the
decisions of docs/papers/mtnet.md, sections 1 and 2: one tensor per layer, split and concatenated by channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet3d import Kernel, conv3d
from models.common.errors import ModelError
from models.mtnet.frame_selection import frame_selection
from models.mtnet.soft_pool import soft_pool, softmax_average

Branches = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, kw_only=True)
class MTConvSettings:
    """How an MTConv splits its channels, reduces the prolonged branch and combines both."""

    ratio: float | None = 0.875
    """Fraction of the channels in the local branch, in (0, 1); None: a plain convolution of all, and no gate."""
    lateral_kernel: Literal["one", "same"] = "one"
    """Kernel of the convolution from the local to the prolonged branch: 1x1x1, or that of the layer."""
    share_lateral_bn: bool = False
    """Use one batch norm for the prolonged branch and for what it gets from the local one, as in the authors' code."""
    spatial_pool: Literal["soft", "avg"] = "soft"
    """Pooling that halves height and width of the prolonged branch."""
    temporal_pool: Literal["triplet", "symmetric"] = "triplet"
    """How the prolonged branch halves time: `triplet` keeps the half of the frames that resemble their neighbours
    least; `symmetric` pools pairs with `spatial_pool`."""
    edge_frames: Literal["double", "interior"] = "double"
    """The first and last frame have one neighbour, which counts twice (`double`), or are never kept (`interior`)."""
    select: Literal["lowest", "highest"] = "lowest"
    """Keep the frames with the lowest similarity (the paper) or the highest (the authors' code)."""
    ends: Literal["zeros", "repeat"] = "repeat"
    """What temporal convolutions see beyond the ends of a clip: zeros, or its first and last frame again."""

    def __post_init__(self) -> None:
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ModelError(f"ratio must be above 0 and below 1, or None, not {self.ratio}")

    def split(self, channels: int) -> int:
        """Return how many of the channels are in the local branch: the ratio, rounded down."""
        # As the decimal number that it is written as: 0.29 of 100 is 29, and 28.999... in floating point.
        return channels if self.ratio is None else int(Fraction(str(self.ratio)) * channels)

    def reduce(self, x: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, C, T/2, h/2, w/2]: T rounded down (1 and 2 stay), or up if pooled."""
        if self.temporal_pool == "symmetric":
            return pool(x, self.spatial_pool, pairs=True)
        return self.select_frames(pool(x, self.spatial_pool, pairs=False))

    def select_frames(self, x: Tensor, compared: Tensor | None = None) -> Tensor:
        """Select frames of x as these settings say, by comparing x or another map of the same frames."""
        return frame_selection(x, compared, lowest=self.select == "lowest", edges=self.edge_frames == "double")

    def conv(self, inputs: int, outputs: int, kernel: Kernel, stride: Kernel = (1, 1, 1)) -> nn.Conv3d:
        """Make a convolution with these ends."""
        return conv3d(inputs, outputs, kernel, stride, repeat_ends=self.ends == "repeat")


class MTConv(nn.Module):
    """[B, inputs, T, h, w] -> the size of `Conv3d(inputs, outputs, kernel, stride, kernel // 2)`, batch-normalised.

    Called with two branches, as `split` returns them, it returns two: concatenating between layers would copy.
    Equation (2) of docs/papers/mtnet.md, section 2.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Kernel,
        stride: Kernel = (1, 1, 1),
        *,
        settings: MTConvSettings,
        lateral: bool = True,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.act = act
        self.local, local = settings.split(inputs), settings.split(outputs)
        if 0 in (self.local, local):
            raise ModelError(f"ratio={settings.ratio} leaves nothing to the local branch of {inputs} channels")
        self.conv_local = settings.conv(self.local, local, kernel, stride)
        self.bn_local = nn.BatchNorm3d(local)
        if settings.ratio is None:
            return
        prolonged = outputs - local
        self.conv_prolonged = settings.conv(inputs - self.local, prolonged, kernel, stride)
        self.bn_prolonged = nn.BatchNorm3d(prolonged)
        self.conv_lateral = self.bn_lateral = None
        if lateral:
            across = kernel if settings.lateral_kernel == "same" else (1, 1, 1)
            self.conv_lateral = settings.conv(local, prolonged, across)
            self.bn_lateral = self.bn_prolonged if settings.share_lateral_bn else nn.BatchNorm3d(prolonged)

    def forward(self, x: Tensor | Branches) -> Tensor | Branches:
        """Return local and prolonged features, concatenated or as two branches, as x is."""
        return self.branches(*x) if isinstance(x, tuple) else concatenate(*self.branches(*self.split(x)))

    def split(self, x: Tensor) -> Branches:
        """Return the channels of the local and of the prolonged branch; all of them and None without a ratio."""
        return (x, None) if self.settings.ratio is None else (x[:, : self.local], x[:, self.local :])

    def branches(self, local: Tensor, prolonged: Tensor | None) -> Branches:
        """Convolve both branches; the lateral convolution of the local one is added to the prolonged one."""
        local = self._activate(self.bn_local(self.conv_local(local)))
        if prolonged is None:
            return local, None
        prolonged = self.bn_prolonged(self.conv_prolonged(self.settings.reduce(prolonged)))
        if self.conv_lateral is not None:
            assert self.bn_lateral is not None
            lateral = self.bn_lateral(self.conv_lateral(self.settings.reduce(local)))
            prolonged = prolonged + resize(lateral, prolonged)
        return local, self._activate(resize(prolonged, local))

    def _activate(self, x: Tensor) -> Tensor:
        return F.relu_(x) if self.act else x


class MTConvs(nn.Sequential):
    """MTConvs in sequence, whose branches are concatenated only after the last.

    If they stayed separate after the gate of a block too, gradients would get strides for which torch 2.13's batch
    norm computes wrong ones on a CPU: it takes shape (3, 28, 1, 2, 2) with strides (112, 1, 336, 56, 28) for
    channels-last (docs/upstream/batch_norm_strides.py).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, h, w] in and out."""
        pair = cast("MTConv", self[0]).split(x)
        for layer in self:
            pair = layer(pair)
        return concatenate(*pair)


def concatenate(local: Tensor, prolonged: Tensor | None) -> Tensor:
    """[B, c, T, h, w] and [B, C - c, T, h, w] -> [B, C, T, h, w]."""
    return local if prolonged is None else torch.cat([local, prolonged], 1)


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Interpolate x [B, C, T, h, w] trilinearly to the size of another map."""
    frames, *size = like.shape[2:]
    if x.shape[2:] == like.shape[2:]:
        return x
    if x.device.type != "cpu":
        return F.interpolate(x, (frames, *size), mode="trilinear", align_corners=False)
    # A single call takes three times as long on a CPU.
    planes = F.interpolate(x.flatten(0, 2)[None], size, mode="bilinear", align_corners=False)
    x = planes.view(*x.shape[:3], *size)
    place = ((torch.arange(frames, dtype=torch.float64) + 0.5) * (x.shape[2] / frames) - 0.5).clamp(0, x.shape[2] - 1)
    before = place.long()
    after = (before + 1).clamp(max=x.shape[2] - 1)
    fraction = (place - before).to(x.dtype)[:, None, None]
    return torch.lerp(x.index_select(2, before), x.index_select(2, after), fraction)


def pool(x: Tensor, kind: str, *, pairs: bool, plane: bool = True) -> Tensor:
    """Pool windows of 2 frames (`pairs`) and of 2 x 2 positions (`plane`); an axis of odd size repeats its last."""
    frames, height, width = x.shape[2:]
    spans = [2 if pairs and frames > 1 else 1, *((2, 2) if plane and max(height, width) > 1 else (1, 1))]
    padding = [-size % span for size, span in zip(x.shape[2:], spans, strict=True)]
    if any(padding):
        x = F.pad(x, (0, padding[2], 0, padding[1], 0, padding[0]), mode="replicate")
    if kind == "soft" and spans == [1, 2, 2]:
        return soft_pool(x)
    times, rows, columns = ([slice(start, None, span) for start in range(span)] for span in spans)
    values = torch.stack([x[:, :, t, h, w] for t in times for h in rows for w in columns])
    return values.mean(0) if kind == "avg" else softmax_average(values)
