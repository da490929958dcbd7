"""Video Swin-B with torchvision's key names (docs/papers/backbones.md, section 5).

Z. Liu et al., "Video Swin Transformer", CVPR 2022: attention inside windows of time, height and width, which every
second block shifts by half. Features are [B, T, H, W, C] inside.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.attention import attend
from models.common.checks import rate
from models.common.errors import ModelError
from models.common.network import CHANNELS, ClipNetwork, Group, set_apart
from models.common.options import Options

PATCH = (2, 4, 4)
"""Frames, height and width of a patch."""
APART = -100.0
"""Added to the logits of two positions that share a window only because of the shift."""
TABLE = "relative_position_bias_table"
INDEX = "relative_position_index"
"""Rows of the table for all pairs of a window: stored in torchvision's files, computed here."""


class Layout(NamedTuple):
    """Widths, depths and heads of a Swin."""

    channels: int
    """Channels after the patch embedding; each later stage has twice as many."""
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]


class Window(NamedTuple):
    """Sizes along time, height and width."""

    frames: int
    height: int
    width: int

    @property
    def spans(self) -> Window:
        """Number of different distances between two positions, along each axis."""
        return Window(2 * self.frames - 1, 2 * self.height - 1, 2 * self.width - 1)

    @property
    def volume(self) -> int:
        return self.frames * self.height * self.width


BASE = Layout(128, (2, 2, 18, 2), (4, 8, 16, 32))
TINY = Layout(16, (2, 2, 2, 1), (1, 2, 4, 8))


@dataclass(frozen=True, kw_only=True)
class Swin3DOptions(Options):
    """Options of `swin3d_b`; the defaults are those of the Kinetics-400 recipe."""

    TINY: ClassVar = {"window": (2, 4, 4), "drop_path": 0.0}

    window: tuple[int, ...] = (8, 7, 7)
    """Window in positions (2 frames, 4 x 4 pixels) along time, height and width; (16, 7, 7) for Something-Something."""
    drop_path: float = 0.3
    """Probability that a sample skips a branch of the last block, in [0, 1); 0.4 for Something-Something."""
    dropout: float = 0.0
    """Dropout before the last linear layer, in [0, 1)."""

    @property
    def layout(self) -> Layout:
        return TINY if self.tiny else BASE

    def __post_init__(self) -> None:
        if len(self.window) != 3 or min(self.window) < 1:
            raise ModelError(
                f"window must be three sizes of at least 1, along time, height and width, not {self.window}"
            )
        rate(self, "drop_path", "dropout")


class Swin3D(ClipNetwork):
    """[B, C, T, H, W] -> [B, K]. 88,048,984 parameters for 400 classes, 140.67 GMACs at 16x224.

    Any T, H and W: as in the published implementation, each axis is padded with zeros to fit patches (T to an even
    number, H and W to multiples of 4), merged positions (height and width to even numbers) and windows.
    """

    Options = Swin3DOptions
    classifier: ClassVar = "head"

    def __init__(self, num_classes: int, *, stream: str, options: Swin3DOptions) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        layout = options.layout
        self.patch_embed = PatchEmbedding(CHANNELS[stream], layout.channels)
        self.features, channels = _stages(layout, Window(*options.window), options.drop_path)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(options.dropout)
        self.head = linear(channels, num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling, after the last norm, [B, channels, T/2, H/32, W/32]."""
        self.check(clip)
        x: Tensor = self.norm(self.features(self.patch_embed(clip)))
        return x.permute(0, 4, 1, 2, 3)

    def adapted(self, name: str, value: Tensor) -> tuple[str, Tensor] | None:
        """Leave out torchvision's index, and stretch a table of another number of frames."""
        if name.endswith(INDEX):
            return None
        window = Window(*self.options.window)
        frames, rest = divmod(len(value), window.spans.height * window.spans.width)
        if name.endswith(TABLE) and not rest and frames != window.spans.frames:
            value = resize_table(value, window._replace(frames=(frames + 1) // 2), window)
        return name, value

    def parameter_groups(self) -> list[Group]:
        """Return groups at one rate, without weight decay for norms and position tables, as in the authors' code."""
        groups = self.even_groups("norm")
        tables = [name for group in groups for name in group.names if name.endswith(TABLE)]
        return set_apart(groups, tables)


def _stages(layout: Layout, window: Window, drop_path: float) -> tuple[nn.Sequential, int]:
    """Make the stages, with patch merging between them; return them and the channels of the last."""
    modules: list[nn.Module] = []
    channels, built, last = layout.channels, 0, sum(layout.depths) - 1
    for depth, heads in zip(layout.depths, layout.heads, strict=True):
        if modules:
            modules.append(PatchMerging(channels))
            channels *= 2
        blocks = nn.Sequential()
        for index in range(depth):
            blocks.append(
                SwinBlock(channels, heads, window, shifted=index % 2 == 1, drop_path=drop_path * built / last)
            )
            built += 1
        modules.append(blocks)
    return nn.Sequential(*modules), channels


class PatchEmbedding(nn.Module):
    """[B, C, T, H, W] -> [B, T/2, H/4, W/4, channels], sizes rounded up."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(inputs, channels, PATCH, PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, clip: Tensor) -> Tensor:
        frames, height, width = (-size % patch for size, patch in zip(clip.shape[2:], PATCH, strict=True))
        x: Tensor = self.proj(F.pad(clip, (0, width, 0, height, 0, frames)))
        embedded: Tensor = self.norm(x.permute(0, 2, 3, 4, 1))
        return embedded


class PatchMerging(nn.Module):
    """[B, T, H, W, C] -> [B, T, H/2, W/2, 2C], sizes rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad(x, Window(1, 2, 2))
        batch, frames, height, width, channels = x.shape
        pairs = x.reshape(batch, frames, height // 2, 2, width // 2, 2, channels)
        # The left column comes first, upper before lower.
        merged: Tensor = self.reduction(self.norm(pairs.permute(0, 1, 2, 4, 5, 3, 6).flatten(4)))
        return merged


class SwinBlock(nn.Module):
    """[B, T, H, W, C] -> the same: attention, then two linear layers, each beside a shortcut."""

    def __init__(self, channels: int, heads: int, window: Window, *, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, shifted=shifted)
        self.norm2 = nn.LayerNorm(channels)
        # torchvision has a dropout of rate 0 in between, which counts in its key names.
        layers = {"0": linear(channels, 4 * channels), "1": nn.GELU(), "3": linear(4 * channels, channels)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class DropPath(nn.Module):
    """Stochastic depth, [B, ...] -> the same: in training a sample is zeroed at this rate, else scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        kept = branch.new_empty(branch.shape[0], *[1] * (branch.dim() - 1)).bernoulli_(1 - self.rate)
        return branch * (kept / (1 - self.rate))


class WindowAttention(nn.Module):
    """[B, T, H, W, C] -> the same: each position attends to those of its window.

    Along an axis that is no longer than the window, the window is the axis and does not shift.
    """

    def __init__(self, channels: int, heads: int, window: Window, *, shifted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.shifted = shifted
        self.qkv = linear(channels, 3 * channels)
        self.proj = linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty(window.spans.volume, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        frames, height, width = sizes = x.shape[1:4]
        window = Window(*map(min, self.window, sizes))
        shift = [part // 2 if self.shifted and part < size else 0 for part, size in zip(window, sizes, strict=True)]
        x = pad(x, window)
        padded = Window(*x.shape[1:4])
        if any(shift):
            x = x.roll([-size for size in shift], (1, 2, 3))
        qkv: Tensor = self.qkv(partition_windows(x, window))
        query, key, value = qkv.reshape(*qkv.shape[:3], 3, self.heads, -1).permute(3, 0, 1, 4, 2, 5)
        bias = self.bias(window)
        if any(shift):
            bias = bias + APART * across_the_shift(padded, window, shift, x.device)[:, None].to(bias.dtype)
        x = merge_windows(self.proj(attend(query, key, value, bias).transpose(2, 3).flatten(3)), padded, window)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return x[:, :frames, :height, :width]

    def bias(self, window: Window) -> Tensor:
        """Return what is added to the logits, [heads, query, key], for a window no larger than the table's.

        A smaller one has the first rows and columns of the whole window's, as the authors' code and torchvision: where
        height or width are cut, other distances than its own.
        """
        table = self.relative_position_bias_table
        # The row is linear in the distance, and the middle row belongs to distance 0.
        _, height, width = self.window.spans
        position = torch.arange(window.volume, device=table.device)
        line, column = position // self.window.width, position % self.window.width
        frame, line = line // self.window.height, line % self.window.height
        row = (frame * height + line) * width + column
        rows = row[:, None] - row + table.shape[0] // 2
        # One head after the other: four times as fast as rows of all heads, forwards and backwards.
        return table.t().contiguous().index_select(1, rows.flatten()).view(-1, *rows.shape)


def pad(x: Tensor, window: Window) -> Tensor:
    """Append zeros to T, H and W of [B, T, H, W, C] up to multiples of the window."""
    frames, height, width = (-size % multiple for size, multiple in zip(x.shape[1:4], window, strict=True))
    return F.pad(x, (0, 0, 0, width, 0, height, 0, frames)) if frames or height or width else x


def partition_windows(x: Tensor, window: Window) -> Tensor:
    """[B, T, H, W, C] -> [B, windows, n, C], n positions each; time is slowest and width fastest in both."""
    batch, frames, height, width, channels = x.shape
    t, h, w = window
    parts = x.reshape(batch, frames // t, t, height // h, h, width // w, w, channels)
    return parts.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, window.volume, channels)


def merge_windows(x: Tensor, sizes: Window, window: Window) -> Tensor:
    """[B, windows, n, C] -> [B, T, H, W, C] of these sizes, the inverse of `partition_windows`."""
    counts = [size // part for size, part in zip(sizes, window, strict=True)]
    parts = x.reshape(x.shape[0], *counts, *window, x.shape[-1])
    return parts.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(x.shape[0], *sizes, x.shape[-1])


def across_the_shift(sizes: Window, window: Window, shift: list[int], device: torch.device) -> Tensor:
    """Mark pairs that share a window only because the shift wraps around: bool [windows, query, key]."""
    ends = [torch.arange(size, device=device) >= size - by for size, by in zip(sizes, shift, strict=True)]
    region = ends[0][:, None, None] * 4 + ends[1][:, None] * 2 + ends[2]
    regions = partition_windows(region[None, ..., None], window)[0, :, :, 0]
    return regions[:, :, None] != regions[:, None]


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """Make a linear layer, initialised as in the paper."""
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def resize_table(table: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Stretch a position table from one window to another by linear interpolation, as for (8, 7, 7) to (16, 7, 7).

    Args:
        table: [product of 2 * size - 1 over the old window, heads].
        old: the window, along time, height and width, that the table was trained with.
        new: the window that it is to serve; 2 or more along an axis that changes.

    Returns:
        [product of 2 * size - 1 over the new window, heads]. The farthest distances and distance 0 keep their values,
        and so do all along an axis whose size is the same.
    """
    volume = table.T.reshape(1, -1, *Window(*old).spans)
    resized = F.interpolate(volume, Window(*new).spans, mode="trilinear", align_corners=True)
    return resized[0].flatten(1).T.contiguous()
