"""The module of DSTS: layers of specialised neurons, of which each sample passes through one (docs/papers/dsts.md).

T. Li et al., "Dynamic Spatio-Temporal Specialization Learning for Fine-Grained Action Recognition", ECCV 2022, has no
public code. The layers, neurons, gates and their choice are the paper's; what `SpecializationSettings` marks as our
reading is not.
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


@dataclass(frozen=True, kw_only=True)
class SpecializationSettings:
    """How the module is made. Defaults are the paper's, or where it is silent our reading, which says so."""

    n_neurons: int = 10
    """Neurons a layer, N."""
    n_layers: int = 3
    """Layers, L."""
    neck_channels: int | None = 160
    """Channels inside, between two 1x1x1 projections (our reading: the paper's 12 M parameters); None: the trunk's."""
    tau: float = 1.0
    """Temperature of the Gumbel softmax that chooses a neuron in training."""
    synapse: bool = True
    """Choose one neuron a sample; False takes the mean of all."""
    gates: bool = True
    """Each neuron learns which channels are spatial; False: the first half."""
    sts: bool = True
    """Spatial and temporal kernels; False: one 3x3x3 convolution a neuron, and no gates."""
    impulse_norm: Literal["positions", "sum", "mean_all"] = "positions"
    """Impulses are means over positions (our reading), the paper's sum of everything, or means of everything."""
    impulse_scale: float = 1.0
    """Factor of the impulses (our reading: none)."""
    semhash_mix: float = 0.0
    """Share of gates that are soft in training: 0.5 in the cited Improved SemHash, 0 is the paper's binary gate."""
    gate_noise: Literal["sample", "shared"] = "sample"
    """Noise of the gates in training: a draw for every sample (our reading), or one for all."""
    gate_init_std: float = 0.01
    """Gates start this close to 0 (our reading): about half of the channels each way."""
    fuse_bn: bool = False
    """Batch norm behind a neuron's fusing convolution."""
    layer_residual: bool = False
    """Each layer adds its input."""
    zero_init_out: bool = True
    """The last projection's batch norm starts with weight 0, the module as the identity (our reading)."""
    dense_eval: bool = False
    """Evaluation computes all neurons and keeps the chosen one, which is slower, to check that it is the same."""

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
    """[B, C, T, h, w] -> the same, X plus what its layers make of it. 11,435,776 parameters at C = 2048."""

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
        """The sum."""
        return self.trace(x)[0]

    def trace(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The sum, and for each layer the chosen neurons, int64 [B]; no layers where all neurons are taken."""
        z: Tensor = self.reduce(x)
        chosen: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, Layer)
            z, neurons = layer.trace(z)
            if neurons is not None:
                chosen.append(neurons)
        return x + self.expand(z), chosen


class Layer(nn.Module):
    """[B, C, T, h, w] -> the same, through the neuron of the largest impulse."""

    def __init__(self, channels: int, settings: SpecializationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.scoring = nn.Parameter(torch.empty(settings.n_neurons, channels, channels))
        """m, [N, C_out, C_in]: 1x1x1 kernels."""
        nn.init.normal_(self.scoring, std=channels**-0.5)
        self.scoring.requires_grad_(settings.synapse)
        self.neurons = Neurons(channels, settings)

    def impulses(self, x: Tensor) -> Tensor:
        """[B, C, T, h, w] -> [B, N], in float32 at least.

        The paper sums all elements of m_i(X). A sum of a 1x1x1 convolution is the sum of its kernel over outputs times
        the sum of its input over positions, so that no convolution is needed.
        """
        pooled = at_least_float32(x).mean((2, 3, 4))
        kernels = at_least_float32(self.scoring).sum(1)
        impulses = (pooled[:, None] * kernels).sum(2) * self.settings.impulse_scale
        if self.settings.impulse_norm == "sum":
            return impulses * x[0, 0].numel()
        if self.settings.impulse_norm == "mean_all":
            return impulses / x.shape[1]
        return impulses

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the chosen neurons make of x, and which they are, int64 [B]."""
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

    Neuron i gives its temporal kernels the channels that its gates open, its spatial kernels the others, and fuses
    the sum of what both make of them.
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
        """[B, C, T, h, w] -> what every neuron makes of it, [B, N, C, T, h, w]."""
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
        """What each sample's own neuron makes of it: [B, C, T, h, w] and int64 [B] -> [B, C, T, h, w]. Evaluation."""
        # A loop over the neurons in use does not export, and there are no values to loop over on the meta device.
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
        """Return b, 1 where a channel is temporal: [B or 1, N, C]. Binary unless `semhash_mix` says otherwise.

        Improved SemHash: in training noise is added, and the gradient is that of a saturating sigmoid.
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
    """A convolution of every neuron without bias, with batch norm and ReLU or without. Keeps T, h and w."""

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
        """[B, C, T, h, w] -> the same by one neuron, or by one for each sample, int64 [B]. Evaluation."""
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
    """In float32 where the precision is lower."""
    return x if x.dtype == torch.float64 else x.float()


def gumbel_softmax(impulses: Tensor, tau: float) -> Tensor:
    """Straight-through Gumbel softmax: float [B, N] -> exactly one-hot, with the gradient of the softmax."""
    soft = ((impulses + gumbel_noise(impulses)) / tau).softmax(1)
    hard = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1.0)
    # Another order leaks about 1e-7 into the neurons that are not chosen.
    return hard + (soft - soft.detach())


def gumbel_noise(like: Tensor) -> Tensor:
    """A draw for every element."""
    return -torch.empty_like(like).exponential_().log()


def gate_noise(draws: int, gates: Tensor) -> Tensor:
    """float32 [draws, N, C] of N(0, 1)."""
    return torch.randn(draws, *gates.shape, device=gates.device)


def _mixed(each: Tensor, coefficients: Tensor) -> Tensor:
    """Sum of [B, N, C, T, h, w] over N, weighted by [B, N]."""
    return torch.einsum("bn,bncthw->bcthw", coefficients.to(each.dtype), each)


def _conv(inputs: int, outputs: int, kernel: Kernel, groups: int = 1) -> nn.Conv3d:
    """A convolution without bias that keeps the size; its outputs vary as its inputs, whatever the groups."""
    layer = conv3d(inputs, outputs, kernel, groups=groups)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer
