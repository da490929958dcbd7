"""DSTS: dynamic spatio-temporal specialisation after a trunk, trained by upstream-downstream learning.

T. Li et al., "Dynamic Spatio-Temporal Specialization Learning for Fine-Grained Action Recognition", ECCV 2022, has no
public code (docs/papers/dsts.md). The trunks are `tpn` and `swin3d_b`; start them from their own weights on the same
data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.backbones.swin3d import Swin3D, Swin3DOptions
from models.backbones.tpn import TPN, TPNOptions
from models.common.checks import above
from models.common.errors import ModelError
from models.common.network import Group, TrunkNetwork, cross_entropy, set_apart
from models.dsts.specialization import DSTS, SpecializationSettings
from models.dsts.udl import Share, Sum, compared, upstream_gradients


@dataclass(frozen=True, kw_only=True)
class DSTSSettings(SpecializationSettings):
    """Options of the module and of its training."""

    udl: bool = True
    """Train scoring kernels and gates on held-out halves of the batches; False: like all other parameters."""
    udl_scope: Literal["dsts", "dsts_head"] = "dsts"
    """What the simulated step changes: the module (our reading), or the last linear layer as well."""
    upstream_rate: float | None = None
    """Factor of the upstream gradients in the place of the learning rate that they hold (our reading); None: as the
    paper's, whose step goes with the square of the rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "upstream_rate")
        if self.udl and not self.synapse and not self.learns_gates:
            raise ModelError("udl=True has nothing to learn without synapse and gates; set udl=False")
        if not self.udl and self.udl_scope != "dsts":
            raise ModelError(f"udl_scope={self.udl_scope} has no effect: udl=False simulates no step")
        if not self.udl and self.upstream_rate != type(self).upstream_rate:
            raise ModelError(f"upstream_rate={self.upstream_rate} has no effect: udl=False has no upstream gradients")


TINY = {"n_neurons": 4, "neck_channels": 32}


@dataclass(frozen=True, kw_only=True)
class DSTSTPNOptions(DSTSSettings, TPNOptions):
    """Options of `dsts_tpn`."""

    TINY: ClassVar = {**TPNOptions.TINY, **TINY}

    keep_temporal_pool: bool = False
    """As in `tpn`; False (our reading) leaves the module's temporal kernels several frames to work on."""

    def __post_init__(self) -> None:
        DSTSSettings.__post_init__(self)
        TPNOptions.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class DSTSSwinOptions(DSTSSettings, Swin3DOptions):
    """Options of `dsts_swin_b`; window and rates are Something-Something's."""

    TINY: ClassVar = {**Swin3DOptions.TINY, **TINY}

    window: tuple[int, ...] = (16, 7, 7)
    drop_path: float = 0.4

    def __post_init__(self) -> None:
        DSTSSettings.__post_init__(self)
        Swin3DOptions.__post_init__(self)


class Specialized(TrunkNetwork):
    """A trunk whose map passes through the module before classification."""

    dsts: DSTS
    heads: ClassVar[tuple[str, ...]] = ("dsts",)

    def forward_trunk(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the trunk's map [B, channels, T', h, w]."""
        raise NotImplementedError

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the module's map [B, channels, T', h, w]."""
        features: Tensor = self.dsts(self.forward_trunk(clip))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """[B, channels, T', h, w] of the trunk -> logits [B, K]."""
        return self.classify(self.dsts(features))

    @torch.no_grad()
    def routing(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> each sample's neuron in each layer, int64 [B, L]; [B, 0] without synapse."""
        _, chosen = self.dsts.trace(self.forward_trunk(clip))
        return torch.stack(chosen, 1) if chosen else torch.empty(len(clip), 0, dtype=torch.int64)

    def parameter_groups(self) -> list[Group]:
        """Return the trunk's groups, with scoring kernels and gates apart: without weight decay, upstream with UDL."""
        routing = [name for name, parameter in self._routing_parameters().items() if parameter.requires_grad]
        return set_apart(super().parameter_groups(), routing, "upstream" if self.options.udl else "ordinary")

    def gradients(self, shares: Sequence[Share], add: Sum, *, lr: float) -> dict[str, Tensor]:
        """Set the gradients of the upstream parameters, by `models.dsts.udl.upstream_gradients`.

        The training loop takes a step along them, and then an ordinary step on the first halves with all other
        parameters. So shares, AMP and several workers are the same code for every network, although the design lets
        this method replace the whole backward pass.

        Returns:
            Figures to be logged, the same on every worker: of the scoring kernels and the gates of each layer, norms
            of the ordinary and the second-order gradient and their cosine, `gates_cosine_1` and so on.
        """
        routing = self._routing_parameters()
        learnt = {name: parameter for name, parameter in routing.items() if parameter.requires_grad}
        scope = ("dsts.", f"{self.classifier}.") if self.options.udl_scope == "dsts_head" else ("dsts.",)
        ordinary = upstream_gradients(
            self,
            list(learnt.values()),
            {n: p for n, p in self.named_parameters() if n.startswith(scope) and n not in routing},
            shares,
            add,
            lr=lr,
            rate=self.options.upstream_rate,
        )
        figures: dict[str, Tensor] = {}
        for (name, parameter), gradient in zip(learnt.items(), ordinary, strict=True):
            _, _, layer, *_, kind = name.split(".")
            assert parameter.grad is not None
            for figure, value in compared(gradient, parameter.grad).items():
                figures[f"{kind}_{figure}_{int(layer) + 1}"] = value
        return figures

    def _routing_parameters(self) -> dict[str, nn.Parameter]:
        """Return scoring kernels and gates by name."""
        return {
            n: p for n, p in self.named_parameters() if n.startswith("dsts.") and n.endswith((".scoring", ".gates"))
        }


def usage(chosen: Sequence[Tensor], neurons: int) -> dict[str, Tensor]:
    """Return for each layer the fraction of a batch that its busiest neuron gets: 1 if a single one gets all."""
    fractions = (
        (layer[:, None] == torch.arange(neurons, device=layer.device)).float().mean(0).max() for layer in chosen
    )
    return {f"busiest_neuron_{number}": fraction for number, fraction in enumerate(fractions, 1)}


class DSTSTPN(Specialized, TPN):
    """[B, C, T, H, W] -> [B, K], any T. 75,109,584 parameters for 400 classes, 48.76 GMACs at 8x224."""

    Options = DSTSTPNOptions
    options: DSTSTPNOptions

    def __init__(self, num_classes: int, *, stream: str, options: DSTSTPNOptions) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        self.dsts = DSTS(self.fc.in_features, options)

    def forward_trunk(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the pyramid's map, [B, 2048, T, H/32, W/32], or T/8 frames if time is pooled."""
        return TPN.forward_features(self, clip)

    def losses(self, clip: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return TPN's losses with `busiest_neuron_1` and so on, per layer."""
        third, fourth = self.forward_stages(clip)
        features, chosen = self.dsts.trace(self.neck(third, fourth))
        losses = self.losses_of(self.classify(features), third, labels, sample_weights)
        return losses | usage(chosen, self.options.n_neurons)


class DSTSSwin(Specialized, Swin3D):
    """[B, C, T, H, W] -> [B, K]. 99,940,086 parameters for 174 classes, 321.40 GMACs at 32x224."""

    Options = DSTSSwinOptions
    options: DSTSSwinOptions

    def __init__(self, num_classes: int, *, stream: str, options: DSTSSwinOptions) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        self.dsts = DSTS(self.head.in_features, options)

    def forward_trunk(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> Swin's map after its last norm, [B, 1024, T/2, H/32, W/32]."""
        return Swin3D.forward_features(self, clip)

    def losses(self, clip: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return `Network.losses` with `busiest_neuron_1` and so on, per layer."""
        features, chosen = self.dsts.trace(self.forward_trunk(clip))
        logits = self.classify(features)
        total = cross_entropy(logits, labels, sample_weights)
        return {"total": total, "logits": logits.detach(), **usage(chosen, self.options.n_neurons)}
