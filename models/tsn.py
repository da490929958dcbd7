"""TSN: one ResNet for all segments, with averaged scores (docs/papers/tsn-protocol.md, section 4).

L. Wang et al., "Temporal Segment Networks", ECCV 2016. The mean over segments makes it blind to their order, which
is why it is the baseline of every network here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.backbones.resnet import Bottleneck, ResNet, ResNetOptions


@dataclass(frozen=True, kw_only=True)
class TSNOptions(ResNetOptions):
    """Options of `tsn`; a dropout of None means 0.8 for rgb and 0.7 for flow."""

    TINY: ClassVar = {"dropout": 0.0}

    partial_bn: bool = False
    """Freeze all batch norm layers but the first, as the paper does when starting from ImageNet weights."""


class TSN(ResNet):
    """[B, C, T, H, W] -> [B, K]. 24,327,632 parameters for 400 classes, 4.089 GMACs per frame at 224."""

    Options = TSNOptions

    def __init__(self, num_classes: int, *, stream: str, options: TSNOptions) -> None:
        dropout = options.dropout if options.dropout is not None else {"rgb": 0.8, "flow": 0.7}[stream]
        super().__init__(num_classes, stream=stream, options=options, block=Bottleneck, dropout=dropout)
        if options.partial_bn:
            self.freeze_bn()
