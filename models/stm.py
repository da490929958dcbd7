"""STM: SpatioTemporal and Motion encoding in every bottleneck of a ResNet (docs/papers/stm.md).

B. Jiang et al., "STM: SpatioTemporal and Motion Encoding for Action Recognition", ICCV 2019, arXiv 1908.02486.
The order of the block's layers is that of the first author's code; what `branches=cmm` leaves out and the dropout are
our readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet import Bottleneck, Place, ResNet, StagedOptions, staged
from models.common.errors import ModelError
from models.common.network import refold, unfold


@dataclass(frozen=True, kw_only=True)
class STMOptions(StagedOptions):
    """Options of `stm`. A dropout of 0.5 suits Kinetics and Something-Something; small datasets take 0.8."""

    TINY: ClassVar = {"dropout": 0.0, "cmm_reduction": 4}

    dropout: float = 0.5
    branches: Literal["both", "cstm", "cmm", "cmm_static"] = "both"
    """Ablation: `cmm` drops the 3x3 convolution too, `cmm_static` keeps it without the temporal filter."""
    temporal_conv: Literal["channelwise", "dense"] = "channelwise"
    """One 3-tap filter per channel, or an ordinary temporal convolution."""
    fusion: Literal["sum", "concat"] = "sum"
    """How the branches are combined: by their sum, or by a 1x1 convolution of both."""
    cmm_reduction: int = 16
    """The motion branch has planes / cmm_reduction channels."""
    cstm_init: Literal["shift", "identity", "random"] = "shift"
    """Initial temporal filters: a shift of two quarters of the channels, the identity, or random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temporal_conv == "dense" and self.branches in ("cmm", "cmm_static"):
            raise ModelError(f"temporal_conv=dense has no effect: branches={self.branches} has no temporal filter")
        if self.fusion == "concat" and self.branches in ("cstm", "cmm"):
            raise ModelError(f"fusion=concat has no effect: branches={self.branches} is a single branch")


class STM(ResNet):
    """[B, C, T, H, W] -> [B, K], any T. 24,498,740 parameters for 400 classes, 33.08 GMACs at 8x224."""

    Options = STMOptions

    def __init__(self, num_classes: int, *, stream: str, options: STMOptions) -> None:
        block = staged(STMBlock, options)
        super().__init__(num_classes, stream=stream, options=options, block=block, dropout=options.dropout)


class STMBlock(Bottleneck):
    """A bottleneck whose 3x3 convolution takes temporally filtered features, with motion features added."""

    def __init__(self, place: Place, options: STMOptions) -> None:
        super().__init__(place)
        planes = place.planes
        branches = options.branches
        self.spatial = branches != "cmm"
        if not self.spatial:
            del self.conv2, self.bn2
        self.cstm = self.cmm = self.fuse = None
        if branches in ("both", "cstm"):
            self.cstm = CSTM(planes, dense=options.temporal_conv == "dense", init=options.cstm_init)
        if branches != "cstm":
            self.cmm = CMM(planes, options.cmm_reduction, place.stride)
        if options.fusion == "concat":
            self.fuse = nn.Conv2d(2 * planes, planes, 1, bias=False)

    def middle(self, u: Tensor, frames: int) -> Tensor:
        """[B*T, planes, h, w] -> [B*T, planes, h/stride, w/stride]."""
        branches: list[Tensor] = []
        if self.spatial:
            branches.append(super().middle(u if self.cstm is None else self.cstm(u, frames), frames))
        if self.cmm is not None:
            branches.append(self.cmm(u, frames))
        if self.fuse is not None:
            return self.fuse(torch.cat(branches, 1))
        return branches[0] if len(branches) == 1 else branches[0] + branches[1]


class CSTM(nn.Module):
    """Channel-wise temporal filter of 3 taps, zero beyond the ends of a clip. [B*T, C, h, w] in and out."""

    def __init__(self, channels: int, *, dense: bool, init: str) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1, groups=1 if dense else channels, bias=False)
        if init != "random":
            _start_as_shift(self.conv, quarter=channels // 4 if init == "shift" else 0)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        # As a 3x1 Conv2d over [B, C, T, h*w]: a view of channels-last memory, and by far the fastest of the
        # equivalent forms on a CPU (tests/bench/bench_models.py).
        height, width = x.shape[2:]
        positions = unfold(x, frames).flatten(2, 3).permute(0, 3, 1, 2)
        y = F.conv2d(positions, self.conv.weight.unsqueeze(-1), padding=(1, 0), groups=self.conv.groups)
        return refold(y.permute(0, 2, 3, 1).reshape(-1, frames, height, width, x.shape[1]))


@torch.no_grad()
def _start_as_shift(layer: nn.Conv1d, quarter: int) -> None:
    """Make the first quarter copy frame t-1, the last quarter frame t+1 and the rest frame t."""
    nn.init.zeros_(layer.weight)
    channels = layer.out_channels
    for channel in range(channels):
        tap = 0 if channel < quarter else 2 if channel >= channels - quarter else 1
        layer.weight[channel, channel if layer.groups == 1 else 0, tap] = 1


class CMM(nn.Module):
    """Channel-wise motion: the difference between the features of a frame and the next, on C / reduction channels.

    [B*T, C, h, w] -> [B*T, C, h/stride, w/stride], zero at the last frame of each clip.
    Equation (3) of docs/papers/stm.md, section 3.
    """

    def __init__(self, channels: int, reduction: int, stride: int) -> None:
        super().__init__()
        if reduction < 1 or channels % reduction:
            raise ModelError(f"cmm_reduction must divide the {channels} channels of a block; {reduction} does not")
        reduced = channels // reduction
        self.reduce = nn.Conv2d(channels, reduced, 1, bias=False)
        self.bn = nn.BatchNorm2d(reduced)
        self.dw = nn.Conv2d(reduced, reduced, 3, padding=1, groups=reduced, bias=False)
        self.expand = nn.Conv2d(reduced, channels, 1, bias=False)
        # Odd maps are rounded up, as by the strided 3x3 convolution in parallel.
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, u: Tensor, frames: int) -> Tensor:
        f: Tensor = self.bn(self.reduce(u))
        step = unfold(self.dw(f), frames)[:, 1:] - unfold(f, frames)[:, :-1]
        last_is_zero = F.pad(step, (0, 0, 0, 0, 0, 0, 0, 1))
        return self.pool(self.expand(refold(last_is_zero)))
