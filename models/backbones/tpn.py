"""TPN: a temporal pyramid over the maps of two stages of a temporally shifted ResNet.

C. Yang et al., "Temporal Pyramid Network for Action Recognition", CVPR 2020, with the layers of the authors' code
(docs/papers/backbones.md, section 3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet import ResNet
from models.backbones.resnet3d import Kernel, conv3d
from models.backbones.shift import ShiftOptions, shifted
from models.common.checks import at_least
from models.common.network import Group, cross_entropy, last_linear

GROUPS = 32
"""Groups of the pyramid's grouped convolutions."""


@dataclass(frozen=True, kw_only=True)
class TPNOptions(ShiftOptions):
    """Options of `tpn`."""

    placement: Literal["residual", "inplace"] = "inplace"
    flow_type: Literal["cascade", "parallel"] = "cascade"
    """Input of the bottom-up path: the result of the top-down path (cascade), or the levels before it (parallel)."""
    keep_temporal_pool: bool = True
    """Pool each level over `temporal_pool` frames; False keeps all frames."""
    temporal_pool: int = 8
    """Frames pooled into one: as many as a clip has."""
    auxiliary_weight: float = 0.5
    """Weight of the auxiliary classifier after the third stage in the training loss; 0 leaves it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "temporal_pool")
        at_least(self, 0, "auxiliary_weight")


class TPN(ResNet):
    """[B, C, T, H, W] -> [B, K], any T. 63,673,808 parameters for 400 classes without the auxiliary head.

    41.23 GMACs at 8x224, 48.11 without the temporal pool.
    """

    Options = TPNOptions

    def __init__(self, num_classes: int, *, stream: str, options: TPNOptions) -> None:
        block = shifted(options)
        super().__init__(num_classes, stream=stream, options=options, block=block, dropout=options.dropout)
        third, fourth = self.third_stage_channels, self.fc.in_features
        self.fc = last_linear(fourth, num_classes, std=0.01)
        pool = options.temporal_pool if options.keep_temporal_pool else 1
        self.neck = Pyramid(third, fourth, pool=pool, cascade=options.flow_type == "cascade")
        self.auxiliary: AuxiliaryHead | None = None
        if options.auxiliary_weight:
            self.auxiliary = AuxiliaryHead(third, fourth, num_classes, options.dropout)

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the pyramid's map, [B, 2048, T/8, H/32, W/32]; T frames if time is not pooled."""
        features: Tensor = self.neck(*self.forward_stages(clip))
        return features

    def forward_stages(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T, H, W] -> the maps of the third and the fourth stage, [B, channels, T, h, w]."""
        third, fourth = super().forward_stages(clip)
        # In channels-last memory, the gradients of the two strided convolutions of this map take a fifth longer.
        return third.contiguous(), fourth

    def classify(self, features: Tensor) -> Tensor:
        """[B, channels, T', h, w] -> logits [B, K]."""
        return self.fc(self.dropout(features.mean((2, 3, 4))))

    def parameter_groups(self) -> list[Group]:
        """Return one group of all parameters, as the authors' configuration has it."""
        return self.even_groups()

    def losses(self, clip: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return `Network.losses` with `loss_main` and `loss_auxiliary`."""
        third, fourth = self.forward_stages(clip)
        return self.losses_of(self.classify(self.neck(third, fourth)), third, labels, sample_weights)

    def losses_of(
        self, logits: Tensor, third: Tensor, labels: Tensor, sample_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses given the logits [B, K] and the third stage's map."""
        main = cross_entropy(logits, labels, sample_weights)
        if self.auxiliary is None:
            return {"total": main, "logits": logits.detach()}
        added = cross_entropy(self.auxiliary(third), labels, sample_weights)
        return {
            "total": main + self.options.auxiliary_weight * added,
            "logits": logits.detach(),
            "loss_main": main.detach(),
            "loss_auxiliary": added.detach(),
        }

    def deploy(self) -> Self:
        """Drop the auxiliary head."""
        self.auxiliary = None
        return self

    def adapted(self, name: str, value: Tensor) -> tuple[str, Tensor]:
        """Rename a tensor of the authors' code."""
        name = name.removeprefix("backbone.")
        name = re.sub(r"^cls_head\.fc_cls\.", "fc.", name)
        name = re.sub(r"^necks\.aux_head\.convs\.(0\.)?", "auxiliary.reduce.", name)  # a list in earlier versions
        name = re.sub(r"^necks\.aux_head\.", "auxiliary.", name)
        name = re.sub(r"^necks\.spatial_modulation\.spatial_modulation\.0\.0\.", "neck.reduce.", name)
        name = re.sub(r"^necks\.temporal_modulation_ops\.(\d)\.conv\.", r"neck.tempos.\1.", name)
        name = re.sub(r"^necks\.downsampling_ops\.0\.conv\.", "neck.up.", name)
        name = re.sub(r"^necks\.level_fusion_op(2?)\.", lambda f: f"neck.{'down' if f[1] else 'up'}_fusion.", name)
        name = re.sub(r"_fusion\.ops\.(\d)\.norm\.", r"_fusion.levels.\1.bn.", name)
        name = re.sub(r"_fusion\.ops\.(\d)\.", r"_fusion.levels.\1.", name)
        name = re.sub(r"_fusion\.fusion_conv\.([01])\.", lambda f: f"_fusion.join.{_PARTS[f[1]]}.", name)
        name = re.sub(r"^necks\.pyramid_fusion_op\.([01])\.", lambda f: f"neck.join.{_PARTS[f[1]]}.", name)
        return name, value


_PARTS = {"0": "conv", "1": "bn"}


class ConvBNReLU(nn.Module):
    """A convolution without bias, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = xavier(inputs, outputs, kernel, stride=stride, groups=groups)
        self.bn = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, T, h, w] -> [B, outputs, T, h/stride, w/stride]."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Pyramid(nn.Module):
    """Maps of the third and fourth stage -> one, [B, fourth, T or T/pool, h, w] of the fourth's size."""

    def __init__(self, third: int, fourth: int, *, pool: int, cascade: bool) -> None:
        super().__init__()
        inner = fourth // 2
        self.pool, self.cascade = pool, cascade
        self.reduce = ConvBNReLU(third, fourth, (1, 3, 3), stride=2)
        self.tempos = nn.ModuleList(xavier(fourth, inner, (3, 1, 1), groups=GROUPS) for _ in range(2))
        self.up = xavier(inner, inner, (3, 1, 1))
        self.down_fusion, self.up_fusion = Fusion(inner, fourth), Fusion(inner, fourth)
        self.join = ConvBNReLU(2 * fourth, fourth, (1, 1, 1))

    def forward(self, third: Tensor, fourth: Tensor) -> Tensor:
        low, high = (tempo(x) for tempo, x in zip(self.tempos, (self.reduce(third), fourth), strict=True))
        if self.pool > 1:
            low, high = (F.max_pool3d(x, (self.pool, 1, 1), ceil_mode=True) for x in (low, high))
        lowered = low + high
        # The authors' code writes the top-down results into the list that the bottom-up path reads.
        start = lowered if self.cascade else low
        joined: Tensor = self.join(
            torch.cat([self.down_fusion(lowered, high), self.up_fusion(start, high + self.up(start))], 1)
        )
        return joined


class Fusion(nn.Module):
    """Two levels [B, inner, T, h, w] -> [B, outputs, T, h, w]."""

    def __init__(self, inner: int, outputs: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(ConvBNReLU(inner, inner, (1, 1, 1), groups=GROUPS) for _ in range(2))
        self.join = ConvBNReLU(2 * inner, outputs, (1, 1, 1))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        fused: Tensor = self.join(torch.cat([level(x) for level, x in zip(self.levels, (low, high), strict=True)], 1))
        return fused


class AuxiliaryHead(nn.Module):
    """Classifier of the third stage, [B, third, T, h, w] -> logits [B, K]; for training only."""

    def __init__(self, third: int, fourth: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.reduce = ConvBNReLU(third, fourth, (1, 3, 3), stride=2)
        self.dropout = nn.Dropout(dropout)
        self.fc = last_linear(fourth, num_classes, std=0.01)

    def forward(self, third: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.reduce(third).mean((2, 3, 4))))
        return logits


def xavier(inputs: int, outputs: int, kernel: Kernel, *, stride: int = 1, groups: int = 1) -> nn.Conv3d:
    """Make a convolution of the pyramid, with a spatial stride."""
    layer = conv3d(inputs, outputs, kernel, (1, stride, stride), groups)
    nn.init.xavier_uniform_(layer.weight)
    return layer
