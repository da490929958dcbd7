"""TSN: one ResNet for every segment, scores averaged (docs/papers/tsn-protocol.md, section 4).

L. Wang et al., "Temporal Segment Networks", ECCV 2016. The mean over segments makes it blind to their order, which
is why it stands beside every network here as the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.backbones.resnet import Bottleneck, ResNet, ResNetOptions


@dataclass(frozen=True, kw_only=True)
class TSNOptions(ResNetOptions):
    """Options of `tsn`; dropout None is 0.8 for rgb and 0.7 for flow."""

    TINY: ClassVar = {"dropout": 0.0}

    partial_bn: bool = False
    """Freeze all batch norm layers but the first; the paper does, from ImageNet weights."""


class TSN(ResNet):
    """[B, C, T, H, W] -> [B, K]. 24,327,632 parameters for 400 classes, 4.089 G multiply-accumulates a 224 frame."""

    Options = TSNOptions

    def __init__(self, num_classes: int, *, stream: str, options: TSNOptions) -> None:
        dropout = options.dropout if options.dropout is not None else {"rgb": 0.8, "flow": 0.7}[stream]
        super().__init__(num_classes, stream=stream, options=options, block=Bottleneck, dropout=dropout)
        if options.partial_bn:
            self.freeze_bn()
