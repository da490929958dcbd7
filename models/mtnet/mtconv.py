"""MTConv: a 3-D convolution of which a part of the channels sees a longer and coarser stretch of the clip.

A. Stergiou, R. Poppe, "Multi-Temporal Convolutions for Human Action Recognition in Videos", IJCNN 2021, with the
decisions of docs/papers/mtnet.md, sections 1 and 2: one tensor a layer, split and joined by channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet3d import Kernel, conv3d
from models.common.errors import ModelError
from models.mtnet.soft_pool import soft_pool, softmax_average

Branches = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, kw_only=True)
class MTConvSettings:
    """How an MTConv splits, reduces and joins."""

    ratio: float | None = 0.875
    """Share of the channels of the local branch, in (0, 1); None: a plain convolution of all, and no gate."""
    lateral_kernel: Literal["one", "same"] = "one"
    """Of the convolution from the local to the prolonged branch: 1x1x1, or that of the layer."""
    share_lateral_bn: bool = False
    """The prolonged branch and what comes to it from the local one have one batch norm, as in the authors' code."""
    spatial_pool: Literal["soft", "avg"] = "soft"
    """What halves height and width of the prolonged branch."""
    temporal_pool: Literal["triplet", "symmetric"] = "triplet"
    """`triplet` keeps the half of the frames that are least like their neighbours, `symmetric` pools pairs."""
    edge_frames: Literal["double", "interior"] = "double"
    """A clip's first and last frame have one neighbour, which counts twice, or are never kept."""
    select: Literal["lowest", "highest"] = "lowest"
    """Keep the frames of the lowest similarity (the paper) or the highest (the authors' code)."""

    def __post_init__(self) -> None:
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ModelError(f"ratio must be above 0 and below 1, or None, not {self.ratio}")

    def reduce(self, x: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, C, T/2, h/2, w/2]: T rounded down (1 and 2 stay), or up where it is pooled."""
        if self.temporal_pool == "symmetric":
            return pool(x, self.spatial_pool, pairs=True)
        return self.select_frames(pool(x, self.spatial_pool, pairs=False))

    def halve_time(self, x: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, C, T/2, h, w], without touching the plane."""
        if self.temporal_pool == "triplet":
            return self.select_frames(x)
        return F.avg_pool3d(x, (2, 1, 1), ceil_mode=True) if x.shape[2] > 1 else x

    def select_frames(self, x: Tensor) -> Tensor:
        """Frame selection as these settings have it."""
        return frame_selection(x, lowest=self.select == "lowest", edges=self.edge_frames == "double")


class MTConv(nn.Module):
    """[B, inputs, T, h, w] -> what `Conv3d(inputs, outputs, kernel, stride, kernel // 2)` gives, batch-normalised.

    Given its two branches, as `split` makes them, it gives two; to join and split between layers costs copies.
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
        ratio = 1.0 if settings.ratio is None else settings.ratio
        self.local, local = int(ratio * inputs), int(ratio * outputs)
        if 0 in (self.local, local):
            raise ModelError(f"ratio={settings.ratio} leaves nothing to the local branch of {inputs} channels")
        self.conv_local = conv3d(self.local, local, kernel, stride)
        self.bn_local = nn.BatchNorm3d(local)
        if settings.ratio is None:
            return
        prolonged = outputs - local
        self.conv_prolonged = conv3d(inputs - self.local, prolonged, kernel, stride)
        self.bn_prolonged = nn.BatchNorm3d(prolonged)
        self.conv_lateral = self.bn_lateral = None
        if lateral:
            across = kernel if settings.lateral_kernel == "same" else (1, 1, 1)
            self.conv_lateral = conv3d(local, prolonged, across)
            self.bn_lateral = self.bn_prolonged if settings.share_lateral_bn else nn.BatchNorm3d(prolonged)

    def forward(self, x: Tensor | Branches) -> Tensor | Branches:
        """Local and prolonged features: joined by channels, or apart, as x is."""
        return self.branches(*x) if isinstance(x, tuple) else concatenate(*self.branches(*self.split(x)))

    def split(self, x: Tensor) -> Branches:
        """Channels of the local and of the prolonged branch; all and None without a ratio."""
        return (x, None) if self.settings.ratio is None else (x[:, : self.local], x[:, self.local :])

    def branches(self, local: Tensor, prolonged: Tensor | None) -> Branches:
        """Convolved, the prolonged one with what comes to it from the local one."""
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
    """MTConvs one after another; their branches stay apart until behind the last.

    Apart behind a block's gate as well, gradients take on strides of which torch 2.13's batch norm on a CPU makes wrong
    ones: shape (3, 28, 1, 2, 2) with strides (112, 1, 336, 56, 28) passes for channels-last.
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
    """Interpolate x [B, C, T, h, w] to the size of another map, trilinearly."""
    frames, *size = like.shape[2:]
    if x.shape[2:] == like.shape[2:]:
        return x
    if x.device.type != "cpu":
        return F.interpolate(x, (frames, *size), mode="trilinear", align_corners=False)
    # In one call it takes a CPU three times as long.
    planes = F.interpolate(x.flatten(0, 2)[None], size, mode="bilinear", align_corners=False)
    x = planes.view(*x.shape[:3], *size)
    place = ((torch.arange(frames, dtype=torch.float64) + 0.5) * (x.shape[2] / frames) - 0.5).clamp(0, x.shape[2] - 1)
    before = place.long()
    after = (before + 1).clamp(max=x.shape[2] - 1)
    share = (place - before).to(x.dtype)[:, None, None]
    return torch.lerp(x.index_select(2, before), x.index_select(2, after), share)


def pool(x: Tensor, kind: str, *, pairs: bool) -> Tensor:
    """Pool windows of 2 x 2 positions, with `pairs` of 2 frames each; an axis of odd size repeats its end."""
    frames, height, width = x.shape[2:]
    spans = [2 if pairs and frames > 1 else 1, *((2, 2) if max(height, width) > 1 else (1, 1))]
    padding = [-size % span for size, span in zip(x.shape[2:], spans, strict=True)]
    if any(padding):
        x = F.pad(x, (0, padding[2], 0, padding[1], 0, padding[0]), mode="replicate")
    if kind == "soft" and spans == [1, 2, 2]:
        return soft_pool(x)
    times, rows, columns = ([slice(start, None, span) for start in range(span)] for span in spans)
    values = torch.stack([x[:, :, t, h, w] for t in times for h in rows for w in columns])
    return values.mean(0) if kind == "avg" else softmax_average(values)


def frame_selection(x: Tensor, *, lowest: bool = True, edges: bool = True) -> Tensor:
    """Keep half of the frames, in their order: those least like both neighbours.

    Args:
        x: [B, C, T, h, w]; a frame is compared by the sums of its channels over the plane.
        lowest: keep the lowest similarity, else the highest.
        edges: the first and the last frame, with their only neighbour counted twice, can be kept.

    Returns:
        [B, C, T // 2, h, w]; x itself where T is 1 or 2.
    """
    frames = x.shape[2]
    if frames <= 2:
        return x
    directions = F.normalize(x.detach().sum((3, 4), dtype=torch.promote_types(x.dtype, torch.float32)), dim=1, eps=1e-8)
    next_to = (directions[:, :, :-1] * directions[:, :, 1:]).sum(1)
    next_to = torch.cat([next_to[:, :1], next_to, next_to[:, -1:]], 1)  # the only neighbour counts twice
    similarity = next_to[:, :-1] + next_to[:, 1:]
    if not edges:
        similarity[:, [0, -1]] = torch.inf if lowest else -torch.inf
    # A stable order: which of two equal frames is kept must not depend on the machine.
    order = similarity.argsort(dim=1, stable=True, descending=not lowest)
    kept = order[:, : frames // 2].sort(1).values
    # As rows of one matrix, which are copied whole; an index for each position takes ten times as long.
    first = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(*x.shape[:2], 1) * frames
    rows = x.flatten(0, 2).index_select(0, (first + kept[:, None]).flatten())
    return rows.view(*x.shape[:2], frames // 2, *x.shape[3:])
