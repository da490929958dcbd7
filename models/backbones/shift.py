"""TSM's temporal shift inside the blocks of a ResNet (docs/papers/tsm.md, section 2).

J. Lin, C. Gan, S. Han, "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019. A shift has no
parameters and no multiply-accumulates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet import BlockFactory, Bottleneck, Place, ResNetOptions
from models.common.errors import ModelError
from models.common.network import refold, unfold


@dataclass(frozen=True, kw_only=True)
class ShiftOptions(ResNetOptions):
    """Options of ResNets whose blocks shift their input along time."""

    TINY: ClassVar = {"dropout": 0.0}

    dropout: float = 0.5
    placement: Literal["residual", "inplace"] = "residual"
    """`residual`: identity and downsampling shortcuts take the unshifted input; `inplace`: the latter takes the shifted
    one, as in TPN."""
    fold_div: int = 8
    """1 / fold_div of the channels come from the next frame and as many from the previous one; 0 shifts none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fold_div != 0 and self.fold_div < 2:
            raise ModelError(f"fold_div must be at least 2, or 0 for no shift, not {self.fold_div}")


class ShiftedBlock(Bottleneck):
    """A bottleneck whose input is shifted along time."""

    def __init__(self, place: Place, *, placement: str, fold_div: int) -> None:
        super().__init__(place)
        self.inplace = placement == "inplace" and not isinstance(self.downsample, nn.Identity)
        self.fold = place.inputs // fold_div if fold_div else 0

    def forward(self, x: Tensor, frames: int) -> Tensor:
        shifted = shift(x, frames, self.fold)
        return self.add_shortcut(shifted if self.inplace else x, self.branch(shifted, frames))


def shifted(options: ShiftOptions) -> BlockFactory:
    """Return the factory of the shifted blocks that these options describe."""
    return partial(ShiftedBlock, placement=options.placement, fold_div=options.fold_div)


def shift(x: Tensor, frames: int, fold: int) -> Tensor:
    """Take the first `fold` channels of x [B*T, C, h, w] from the next frame, the second `fold` from the previous one.

    Beyond the ends of a clip, values are zero: equation (1) of docs/papers/tsm.md.
    """
    if fold == 0:
        return x
    y = unfold(x, frames)
    future, past, rest = torch.split(y, [fold, fold, y.shape[-1] - 2 * fold], dim=-1)
    ahead = F.pad(future[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
    behind = F.pad(past[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return refold(torch.cat([ahead, behind, rest], dim=-1))
