"""TSM: a quarter of the input channels of each block is shifted along time (docs/papers/tsm.md).

J. Lin, C. Gan, S. Han, "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019. The shift itself is
in `models.backbones.shift`; sizes and costs are those of the ResNet.
"""

from __future__ import annotations

from models.backbones.resnet import ResNet
from models.backbones.shift import ShiftOptions, shifted


class TSM(ResNet):
    """[B, C, T, H, W] -> [B, K], any T. 24,327,632 parameters for 400 classes, 32.70 GMACs at 8x224."""

    Options = ShiftOptions

    def __init__(self, num_classes: int, *, stream: str, options: ShiftOptions) -> None:
        block = shifted(options)
        super().__init__(num_classes, stream=stream, options=options, block=block, dropout=options.dropout)
