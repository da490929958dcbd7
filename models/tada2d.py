"""TAda2D: convolutions whose weights are calibrated for each frame, from its neighbours and the whole clip.

Z. Huang et al., "TAdaConv: Temporally-Adaptive Convolutions for Video Understanding", ICLR 2022, with the authors'
layers and initialisation: each 3x3 convolution of a ResNet is calibrated, and the average of its output over three
frames is added; the stem has no max-pooling, the first stage strides instead (docs/papers/tada2d.md). It is here as the
baseline of `stam`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from models.backbones.resnet import Bottleneck, Place, ResNet, StagedOptions, staged
from models.common.checks import at_least
from models.common.errors import ModelError
from models.common.network import Group, last_linear, refold, temporal_average, unfold


@dataclass(frozen=True, kw_only=True)
class TAda2DOptions(StagedOptions):
    """Options of `tada2d`."""

    TINY: ClassVar = {"dropout": 0.0}

    dropout: float = 0.5
    reduction: int = 4
    """The routing function has planes / reduction inner channels."""
    route_kernel: int = 3
    """Kernel size of the routing function's two temporal convolutions; odd."""
    aggregation: bool = True
    """Add the average over three frames to the output of each calibrated convolution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "reduction")
        if self.route_kernel < 1 or self.route_kernel % 2 == 0:
            raise ModelError(f"route_kernel must be odd, not {self.route_kernel}")


class TAda2D(ResNet):
    """[B, C, T, H, W] -> [B, K], any T. 27,485,472 parameters for 400 classes, 33.03 GMACs at 8x224."""

    Options = TAda2DOptions
    stem_pool = False

    def __init__(self, num_classes: int, *, stream: str, options: TAda2DOptions) -> None:
        block = staged(TAdaBlock, options)
        super().__init__(num_classes, stream=stream, options=options, block=block, dropout=options.dropout)
        self.fc = last_linear(self.fc.in_features, num_classes, std=0.01)

    def parameter_groups(self) -> list[Group]:
        """Return groups at one rate, without weight decay for biases and norms, as in the authors' code."""
        return self.even_groups("bias", "norm")


class TAdaBlock(Bottleneck):
    """A bottleneck with a calibrated 3x3 convolution."""

    def __init__(self, place: Place, options: TAda2DOptions) -> None:
        super().__init__(place)
        planes = place.planes
        self.route = RouteFunction(planes, max(1, planes // options.reduction), options.route_kernel)
        self.average_bn = None
        if options.aggregation:
            self.average_bn = nn.BatchNorm2d(planes)
            nn.init.zeros_(self.average_bn.weight)  # the block starts as the ResNet's

    def middle(self, u: Tensor, frames: int) -> Tensor:
        """[B*T, planes, h, w] -> [B*T, planes, h/stride, w/stride]."""
        # The factors belong to input channels: scaling the input equals scaling the weights, without weights per frame.
        y = self.conv2(u * self.route(u, frames)[:, :, None, None])
        z = self.bn2(y)
        if self.average_bn is not None:
            z = z + self.average_bn(refold(temporal_average(unfold(y, frames))))
        middle: Tensor = self.relu(z)
        return middle


class RouteFunction(nn.Module):
    """Features [B*T, C, h, w] -> calibration factors [B*T, C] from the context of each frame; 1 at the start.

    Equation (1) of docs/papers/tada2d.md, section 2.
    """

    def __init__(self, channels: int, reduced: int, kernel: int) -> None:
        super().__init__()
        self.g = nn.Linear(channels, channels)
        self.a = nn.Conv1d(channels, reduced, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(reduced)
        self.relu = nn.ReLU(inplace=True)
        self.b = nn.Conv1d(reduced, channels, kernel, padding=kernel // 2, bias=False)
        for layer in (self.g, self.a):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.b.weight)

    def forward(self, u: Tensor, frames: int) -> Tensor:
        pooled = u.mean((2, 3)).view(-1, frames, u.shape[1])
        context = pooled + self.g(pooled.mean(1, keepdim=True))
        factors = 1 + self.b(self.relu(self.bn(self.a(context.transpose(1, 2)))))
        return factors.transpose(1, 2).flatten(0, 1)
