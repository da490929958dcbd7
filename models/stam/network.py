"""STAM: every 3x3 convolution of a ResNet is adapted to each frame, and its output aggregated over space and time.

W. Li, W. Gong, Y. Qian et al., "STAM: a spatio-temporal adaptive module for improving static convolutions in action
recognition", The Visual Computer, 2023. Only the abstract is public. From it: two light branches mix N adaptive filters
(STHAC) that calibrate the static weights of every frame, and an omni-dimensional aggregation (OD) follows. This is our
reimplementation, from the abstract: the form of branches and aggregation is our reading (docs/papers/stam.md), and each
choice is an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from models.backbones.resnet import Bottleneck, Place, ResNet, StagedOptions, staged
from models.common.checks import above, at_least
from models.common.errors import ModelError
from models.common.network import Group
from models.stam.aggregation import OmniAggregation
from models.stam.sthac import STHAC

# Options that act on the filters that are mixed, on their shares, and in the temporal branch.
OF_FILTERS = ("n_filters", "filter_size", "filter_scale", "filter_init_std")
OF_SHARES = ("temperature", "temperature_start", "anneal_epochs", "standardise")
OF_TIME = ("temporal_norm", "temporal_pos", "temporal_pos_scale")


@dataclass(frozen=True, kw_only=True)
class STAMOptions(StagedOptions):
    """Options of `stam`."""

    TINY: ClassVar = {"dropout": 0.0}

    dropout: float = 0.5
    reduction: int = 4
    """The branches have max(planes / reduction, 16) channels."""
    mix: Literal["branch", "softmax", "sigmoid"] = "branch"
    """`branch`: each branch outputs a filter of its own. Else both mix N filters, which hardly learn in a short
    schedule: nearly equal shares give all filters nearly the same gradient (docs/papers/stam.md, section 5)."""
    n_filters: int = 4
    """Number N of adaptive filters per block that are mixed."""
    filter_size: Literal[3, 1] = 3
    """3 gives each tap of the convolution its own factor, 1 scales whole input channels, as `mix=branch` does."""
    temperature: float = 1.0
    """Divides the branches' sum before softmax or sigmoid; the final value if annealed."""
    temperature_start: float | None = None
    """Initial temperature of a linear annealing, step by step (30 in ODConv); None keeps it constant."""
    anneal_epochs: float = 10.0
    """Epochs until an annealed temperature reaches its final value."""
    standardise: bool = False
    """Batch-normalise the branches' sum, without parameters: frames then mix filters differently from step 1."""
    filter_scale: float = 1.0
    """Factor on the mixed filters; with AdamW they learn faster by this factor."""
    filter_init_std: float = 0.0
    """Standard deviation of initial filters. At 0 the network starts as the ResNet; the branches learn from step 1."""
    temporal_norm: bool = False
    """Batch-normalise the temporal branch's reduced features, without parameters, before the positional encoding."""
    temporal_pos: Literal["sin", "none"] = "sin"
    """Positional encoding in the temporal branch; without it, STHAC alone cannot tell a clip from its reverse."""
    temporal_pos_scale: float = 1.0
    """Factor on the positional encoding, whose values are sines and cosines."""
    branches: Literal["both", "spatial", "temporal", "none"] = "both"
    """Ablation: which branches mix the filters; `none` mixes them evenly."""
    od: bool = True
    """Ablation: the omni-dimensional aggregation."""
    od_gates: bool = True
    """Ablation: the gates, without which the aggregation is that of TAdaConv."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "n_filters", "reduction")
        above(self, 0, "temperature", "temperature_start", "anneal_epochs", "filter_scale", "temporal_pos_scale")
        at_least(self, 0, "filter_init_std")
        if self.mix == "branch" and self.branches == "none":
            raise ModelError("mix=branch with branches=none leaves nothing to calibrate with; give mix=softmax")
        if self.mix == "branch":
            self._without_effect("mix=branch, the default, mixes no filters", *OF_FILTERS, *OF_SHARES)
        if self.branches == "none":
            self._without_effect("branches=none mixes all filters evenly", *OF_SHARES)
        if self.branches in ("none", "spatial"):
            self._without_effect(f"branches={self.branches} has no temporal branch", *OF_TIME)
        if self.temporal_pos == "none":
            self._without_effect("temporal_pos=none leaves no encoding", "temporal_pos_scale")
        if not self.od:
            self._without_effect("od=False leaves no aggregation", "od_gates")

    def _without_effect(self, why: str, *names: str) -> None:
        """Raise `ModelError` naming the first of these options that is not at its default."""
        for name in names:
            if getattr(self, name) != getattr(type(self), name):
                raise ModelError(f"{name}={getattr(self, name)} has no effect: {why}")

    def temperature_at(self, epoch: float) -> float:
        """Return the temperature after a number of epochs."""
        if self.temperature_start is None:
            return self.temperature
        left = max(0.0, 1 - epoch / self.anneal_epochs)
        return self.temperature + (self.temperature_start - self.temperature) * left


class STAM(ResNet):
    """[B, C, T, H, W] -> [B, K], any T. 27,771,312 parameters for 400 classes, 33.28 GMACs at 8x224."""

    Options = STAMOptions

    def __init__(self, num_classes: int, *, stream: str, options: STAMOptions) -> None:
        block = staged(STAMBlock, options)
        super().__init__(num_classes, stream=stream, options=options, block=block, dropout=options.dropout)

    def parameter_groups(self) -> list[Group]:
        """Return TAda2D's groups: one rate, without weight decay for biases and norms."""
        return self.even_groups("bias", "norm")

    def begin_step(self, epoch: float) -> None:
        """Set the temperature where it is annealed."""
        if self.options.temperature_start is None:
            return
        for module in self.modules():
            if isinstance(module, STHAC):
                assert isinstance(module.temperature, Tensor)
                module.temperature.fill_(self.options.temperature_at(epoch))


class STAMBlock(Bottleneck):
    """A bottleneck whose 3x3 convolution is calibrated for each frame and aggregated over space and time."""

    def __init__(self, place: Place, options: STAMOptions) -> None:
        super().__init__(place)
        self.sthac = STHAC(
            place.planes,
            reduced=max(place.planes // options.reduction, 16),
            filters=options.n_filters,
            filter_size=options.filter_size,
            mix=options.mix,
            temperature=options.temperature_at(0),
            annealed=options.temperature_start is not None,
            standardise=options.standardise,
            scale=options.filter_scale,
            init_std=options.filter_init_std,
            branches=options.branches,
            normalised=options.temporal_norm,
            position=options.temporal_pos_scale if options.temporal_pos == "sin" else 0.0,
        )
        self.od = OmniAggregation(place.planes, gates=options.od_gates) if options.od else None

    def middle(self, u: Tensor, frames: int) -> Tensor:
        """[B*T, planes, h, w] -> [B*T, planes, h/stride, w/stride]."""
        y = self.sthac(u, frames, self.conv2.weight, self.conv2.stride[0])
        z = self.bn2(y)
        if self.od is not None:
            z = z + self.od(y, frames)
        middle: Tensor = self.relu(z)
        return middle
