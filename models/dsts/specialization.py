"""The module of DSTS: layers of specialised neurons, one of which processes each sample (docs/papers/dsts.md).

T. Li et al., "Dynamic Spatio-Temporal Specialization Learning for Fine-Grained Action Recognition", ECCV 2022, has no
public code. Layers, neurons, gates and routing are the paper's; `SpecializationSettings` marks what is our reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.resnet3d import Kernel, conv3d
from models.common.checks import above, at_least, fraction

PLANE: Kernel = (1, 3, 3)
TIME: Kernel = (3, 1, 1)
VOLUME: Kernel = (3, 3, 3)
ONE: Kernel = (1, 1, 1)
START = 0.5
"""Standard deviation of a new layer's impulses: less than the Gumbel noise's 1.28, so that every neuron is tried."""


@dataclass(frozen=True, kw_only=True)
class SpecializationSettings:
    """Options of the module. Defaults are the paper's or, where it is silent, our reading, which is marked."""

    n_neurons: int = 10
    """Neurons per layer, N."""
    n_layers: int = 3
    """Layers, L."""
    neck_channels: int | None = 160
    """Channels inside, between two 1x1x1 projections (our reading: the paper's 12 M parameters); None: the trunk's."""
    tau: float = 1.0
    """Temperature of the Gumbel softmax that selects a neuron in training."""
    synapse: bool = True
    """Route each sample to one neuron; False takes the mean of all."""
    gates: bool = True
    """Let each neuron learn which channels are spatial; False: the first half."""
    sts: bool = True
    """Spatial and temporal kernels; False: one 3x3x3 convolution per neuron, and no gates."""
    impulse_norm: Literal["batch", "positions", "sum", "mean_all"] = "batch"
    """Impulses: of means over positions that batch norm without parameters makes alike (our reading), of these means as
    they are, sums over everything (the paper), or means over everything."""
    impulse_scale: float = 1.0
    """Factor on the impulses (our reading: 1)."""
    semhash_mix: float = 0.0
    """Fraction of soft gates in training: 0.5 in the cited Improved SemHash, 0 for the paper's binary gates."""
    gate_noise: Literal["sample", "shared"] = "sample"
    """Noise of the gates in training: one draw per sample (our reading), or one for all."""
    gate_init_std: float = 0.01
    """Standard deviation of initial gates (our reading): about half of the channels each way."""
    fuse_bn: bool = False
    """Batch norm after a neuron's fusing convolution."""
    layer_residual: bool = False
    """Add the input of each layer to its output."""
    zero_init_out: bool = True
    """Start the last projection's batch norm with weight 0, and so the module as the identity (our reading)."""
    dense_eval: bool = False
    """Compute all neurons in evaluation and keep the selected one: slower, to check that the result is the same."""

    def __post_init__(self) -> None:
        at_least(self, 1, "n_neurons", "n_layers")
        at_least(self, 2, "neck_channels")
        above(self, 0, "tau", "impulse_scale")
        fraction(self, "semhash_mix")
        at_least(self, 0, "gate_init_std")

    @property
    def learns_gates(self) -> bool:
        """Whether neurons have gates of their own."""
        return self.sts and self.gates


class DSTS(nn.Module):
    """[B, C, T, h, w] -> the same: the input plus the output of the layers. 11,435,776 parameters at C = 2048."""

    def __init__(self, channels: int, settings: SpecializationSettings) -> None:
        super().__init__()
        inner = settings.neck_channels or channels
        self.reduce: nn.Module = nn.Identity()
        self.expand: nn.Module = nn.Identity()
        if settings.neck_channels is not None:
            self.reduce = nn.Sequential(_conv(channels, inner, ONE), nn.BatchNorm3d(inner))
            last = nn.BatchNorm3d(channels)
            if settings.zero_init_out:
                nn.init.zeros_(last.weight)
            self.expand = nn.Sequential(_conv(inner, channels, ONE), last)
        self.layers = nn.ModuleList(Layer(inner, settings) for _ in range(settings.n_layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.trace(x)[0]

    def trace(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the output and, for each layer, the selected neurons, int64 [B]; no layers if all neurons are used."""
        z: Tensor = self.reduce(x)
        chosen: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, Layer)
            z, neurons = layer.trace(z)
            if neurons is not None:
                chosen.append(neurons)
        return x + self.expand(z), chosen


class Layer(nn.Module):
    """[B, C, T, h, w] -> the same, by the neuron with the largest impulse."""

    def __init__(self, channels: int, settings: SpecializationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.scoring = nn.Parameter(torch.empty(settings.n_neurons, channels, channels))
        """m, [N, C_out, C_in]: 1x1x1 kernels."""
        nn.init.normal_(self.scoring, std=channels**-0.5)
        self.scoring.requires_grad_(settings.synapse)
        self.norm: nn.BatchNorm1d | None = None
        if settings.synapse and settings.impulse_norm == "batch":
            self.norm = nn.BatchNorm1d(channels, affine=False)
        self.neurons = Neurons(channels, settings)

    def impulses(self, x: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, N], in float32 at least: equation (2) of docs/papers/dsts.md.

        The paper sums all elements of m_i(X). The sum of a 1x1x1 convolution is the sum of its kernel over outputs
        times the sum of its input over positions, so no convolution is needed.
        """
        pooled = at_least_float32(x).mean((2, 3, 4))
        if self.norm is not None:
            # The sums of a new m have a standard deviation of 1, and so an impulse has START, at any width.
            pooled = _standardised(pooled, self.norm) * (START / pooled.shape[1] ** 0.5)
        kernels = at_least_float32(self.scoring).sum(1)
        impulses = (pooled[:, None] * kernels).sum(2) * self.settings.impulse_scale
        if self.settings.impulse_norm == "sum":
            return impulses * x[0, 0].numel()
        if self.settings.impulse_norm == "mean_all":
            return impulses / x.shape[1]
        return impulses

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the output of the selected neurons, and which they are, int64 [B]."""
        if not self.settings.synapse:
            z, chosen = self.neurons(x).mean(1), None
        elif self.training:
            one_hot = gumbel_softmax(self.impulses(x), self.settings.tau)
            chosen = one_hot.argmax(1)
            z = _mixed(self.neurons(x), one_hot)
        else:
            impulses = self.impulses(x)
            chosen = impulses.argmax(1)
            if self.settings.dense_eval:
                z = _mixed(self.neurons(x), F.one_hot(chosen, impulses.shape[1]))
            else:
                z = self.neurons.forward_selected(x, chosen)
        return (z + x if self.settings.layer_residual else z), chosen


class Neurons(nn.Module):
    """The N neurons of a layer, as grouped convolutions of N * C channels.

    Neuron i applies its temporal kernels to the channels whose gates are open and its spatial kernels to the others,
    and fuses the sum of both.
    """

    def __init__(self, channels: int, settings: SpecializationSettings) -> None:
        super().__init__()
        self.settings, self.channels = settings, channels
        count = settings.n_neurons
        if settings.learns_gates:
            self.gates = nn.Parameter(torch.empty(count, channels))
            """g, [N, C]: above 0, a channel is temporal."""
            nn.init.normal_(self.gates, std=settings.gate_init_std)
        if settings.sts:
            self.spatial, self.temporal = NeuronConv(count, channels, PLANE), NeuronConv(count, channels, TIME)
        else:
            self.volume = NeuronConv(count, channels, VOLUME)
        self.fuse = NeuronConv(count, channels, ONE, norm=settings.fuse_bn, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, h, w] -> the output of every neuron, [B, N, C, T, h, w]."""
        count, channels = self.settings.n_neurons, self.channels
        if self.settings.sts:
            temporal = self.temporal_channels(x.shape[0])[..., None, None, None].to(x.dtype)
            each = x[:, None]
            z = self.spatial(((1 - temporal) * each).flatten(1, 2)) + self.temporal((temporal * each).flatten(1, 2))
        else:
            z = self.volume(x.repeat(1, count, 1, 1, 1))
        fused: Tensor = self.fuse(z).unflatten(1, (count, channels))
        return fused

    def forward_selected(self, x: Tensor, chosen: Tensor) -> Tensor:
        """[B, C, T, h, w] -> the same by the neuron selected for each sample, int64 [B]. For evaluation."""
        # A loop over the neurons in use cannot be exported, and on the meta device there are no values to loop over.
        if torch.compiler.is_exporting() or chosen.is_meta:
            return self._run(x, chosen)
        out = torch.empty_like(x)
        for neuron in sorted(set(chosen.tolist())):
            rows = (chosen == neuron).nonzero()[:, 0]
            out[rows] = self._run(x[rows], neuron).to(out.dtype)
        return out

    def _run(self, x: Tensor, neuron: int | Tensor) -> Tensor:
        if self.settings.sts:
            temporal = self.temporal_channels(1)[0, neuron][..., None, None, None].to(x.dtype)
            z = self.spatial.forward_selected((1 - temporal) * x, neuron) + self.temporal.forward_selected(
                temporal * x, neuron
            )
        else:
            z = self.volume.forward_selected(x, neuron)
        return self.fuse.forward_selected(z, neuron)

    def temporal_channels(self, samples: int) -> Tensor:
        """Return b, 1 where a channel is temporal: [B or 1, N, C]. Binary unless `semhash_mix` is set.

        Improved SemHash, equation (4) of docs/papers/dsts.md: training adds noise, and the gradient is that of a
        saturating sigmoid.
        """
        if not self.settings.learns_gates:
            channels = torch.arange(self.channels, device=self.fuse.conv.weight.device)
            return (channels >= self.channels // 2).float().expand(1, self.settings.n_neurons, -1)
        if not self.training:
            return (self.gates > 0).float()[None]
        draws = samples if self.settings.gate_noise == "sample" else 1
        noisy = at_least_float32(self.gates) + gate_noise(draws, self.gates)
        soft = (1.2 * noisy.sigmoid() - 0.1).clamp(0, 1)
        # In this order the value is exactly 0 or 1.
        hard = (noisy > 0).to(soft.dtype) + (soft - soft.detach())
        if self.settings.semhash_mix:
            return torch.where(torch.rand_like(soft) < self.settings.semhash_mix, soft, hard)
        return hard


class NeuronConv(nn.Module):
    """One convolution per neuron, without bias, with optional batch norm and ReLU. Keeps T, h and w."""

    def __init__(self, count: int, channels: int, kernel: Kernel, *, norm: bool = True, relu: bool = True) -> None:
        super().__init__()
        self.count, self.channels, self.relu = count, channels, relu
        self.padding = [size // 2 for size in kernel]
        self.conv = _conv(count * channels, count * channels, kernel, groups=count)
        self.bn = nn.BatchNorm3d(count * channels) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, N*C, T, h, w] -> the same."""
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return F.relu(x) if self.relu else x

    def forward_selected(self, x: Tensor, neuron: int | Tensor) -> Tensor:
        """[B, C, T, h, w] -> the same by one neuron, or by one per sample, int64 [B]. For evaluation."""
        weight = self._of(self.conv.weight, neuron)
        if isinstance(neuron, Tensor):
            rows = F.conv3d(x.flatten(0, 1)[None], weight.flatten(0, 1), padding=self.padding, groups=x.shape[0])
            x = rows.view(-1, self.channels, *rows.shape[2:])
        else:
            x = F.conv3d(x, weight, padding=self.padding)
        if self.bn is not None:
            variance, mean = self.bn.running_var, self.bn.running_mean
            assert variance is not None
            assert mean is not None
            scale = self.bn.weight * (variance + self.bn.eps).rsqrt()
            shift = self.bn.bias - mean * scale
            scale, shift = (self._of(value, neuron)[..., None, None, None].to(x.dtype) for value in (scale, shift))
            x = x * scale + shift
        return F.relu(x) if self.relu else x

    def _of(self, value: Tensor, neuron: int | Tensor) -> Tensor:
        return value.view(self.count, self.channels, *value.shape[1:])[neuron]


def at_least_float32(x: Tensor) -> Tensor:
    """Convert x to float32 if its precision is lower."""
    return x if x.dtype == torch.float64 else x.float()


def gumbel_softmax(impulses: Tensor, tau: float) -> Tensor:
    """Straight-through Gumbel softmax: float [B, N] -> exactly one-hot, with the gradient of the softmax.

    Equation (3) of docs/papers/dsts.md.
    """
    soft = ((impulses + gumbel_noise(impulses)) / tau).softmax(1)
    hard = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1.0)
    # Another order leaks about 1e-7 into the neurons that are not selected.
    return hard + (soft - soft.detach())


def gumbel_noise(like: Tensor) -> Tensor:
    """Draw Gumbel noise for every element."""
    return -torch.empty_like(like).exponential_().log()


def gate_noise(draws: int, gates: Tensor) -> Tensor:
    """Draw float32 [draws, N, C] from N(0, 1)."""
    return torch.randn(draws, *gates.shape, device=gates.device)


def _standardised(pooled: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Apply batch norm to [B, C] of float32 at least; a single sample, which has no spread, by running statistics."""
    if norm.training and len(pooled) > 1:
        standardised: Tensor = norm(pooled)
        return standardised
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # Not by the layer, whose statistics may be of lower precision.
    mean, variance = (value.to(pooled.dtype) for value in (norm.running_mean, norm.running_var))
    return (pooled - mean) * (variance + norm.eps).rsqrt()


def _mixed(each: Tensor, coefficients: Tensor) -> Tensor:
    """Sum [B, N, C, T, h, w] over N, weighted by [B, N]."""
    return torch.einsum("bn,bncthw->bcthw", coefficients.to(each.dtype), each)


def _conv(inputs: int, outputs: int, kernel: Kernel, groups: int = 1) -> nn.Conv3d:
    """Make a convolution without bias that keeps size and variance, whatever the number of groups."""
    layer = conv3d(inputs, outputs, kernel, groups=groups)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer
