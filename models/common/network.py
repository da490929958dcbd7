"""What all networks share: clip checks, folding time, losses, optimiser groups and partial batch norm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.common.description import SMALLEST
from models.common.errors import ModelError
from models.common.options import Options

CHANNELS = {"rgb": 3, "flow": 10}
"""Channels of a clip by stream; flow has 5 consecutive pairs per segment: x1, y1, ..., x5, y5."""


@dataclass(frozen=True)
class Group:
    """Parameters that the optimiser treats alike."""

    names: list[str]
    lr_multiplier: float
    weight_decay: bool
    role: str
    """`ordinary`, or `upstream` in networks with upstream-downstream learning (DSTS)."""


def set_apart(groups: list[Group], names: list[str], role: str = "ordinary") -> list[Group]:
    """Move parameters to a group of their own, at the base rate and without decay."""
    others = [replace(group, names=[name for name in group.names if name not in names]) for group in groups]
    apart = Group(names, lr_multiplier=1.0, weight_decay=False, role=role)
    return [group for group in [*others, apart] if group.names]


class Network(nn.Module):
    """Clip in, logits out. Subclasses define `Options` and `forward(clip [B, C, T, H, W]) -> [B, K]`."""

    Options: ClassVar[type[Options]] = Options
    classifier: ClassVar[str] = "fc"
    """Name of the last linear layer, whose size depends on the number of classes."""
    heads: ClassVar[tuple[str, ...]] = ()
    """Modules beside the trunk, which partial batch norm leaves alone."""

    @classmethod
    def create(cls, num_classes: int, *, stream: str, options: Any) -> Network:
        """Make the network of these options; where they choose the trunk, it is of a subclass."""
        return cls(num_classes, stream=stream, options=options)

    def __init__(self, num_classes: int, *, stream: str, options: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stream = stream
        self.options = options
        self.partial_bn = False

    def check(self, clip: Tensor) -> None:
        """Raise `ModelError` unless clip is [B, C, T, H, W] with this stream's C, T >= 1 and H, W >= 32."""
        channels = CHANNELS[self.stream]
        if clip.dim() != 5 or clip.shape[1] != channels:
            raise ModelError(
                f"{type(self).__name__} ({self.stream}) takes clips [B, {channels}, T, H, W]; got {list(clip.shape)}"
            )
        if clip.shape[2] < 1 or clip.shape[3] < SMALLEST or clip.shape[4] < SMALLEST:
            raise ModelError(
                f"{type(self).__name__} takes clips of at least 1 frame of {SMALLEST}x{SMALLEST} pixels; "
                f"got {clip.shape[2]} of {clip.shape[3]}x{clip.shape[4]}"
            )

    def losses(self, clip: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> dict[str, Tensor]:
        """Run one forward pass and return what a training step needs of it.

        Args:
            clip: [B, C, T, H, W].
            labels: int64 [B], or float [B, K], what each class counts: smoothed labels, or those of mixed clips.
            sample_weights: [B], what each sample counts; None: all 1.

        Returns:
            `total`, the weighted mean loss to minimise (0, with zero gradients, where all sample weights are 0);
            `logits` [B, K], detached, from which the loop computes accuracy without a second forward pass;
            anything else is a scalar to be logged (networks with auxiliary heads).
        """
        logits = self(clip)
        return {"total": cross_entropy(logits, labels, sample_weights), "logits": logits.detach()}

    def begin_step(self, epoch: float) -> None:
        """Update what depends on the progress of training; the loop calls this before every step.

        Args:
            epoch: epochs since the start of training, with fractions. Whatever is set depends on it alone, so that a
                resumed training continues exactly.
        """

    def trunk_blocks(self) -> list[nn.Module]:
        """Return the blocks of the trunk in order: what goes into each is enough to compute what is in it again."""
        found: list[nn.Module] = []
        for child in self.children():
            if type(child) in _LISTS:
                found += _items(child)
        return found

    def parameter_groups(self) -> list[Group]:
        """Return the optimiser groups; each trainable parameter is in exactly one. These are tsn-pytorch's.

        Biases learn twice as fast and do not decay, nor does batch norm; the first convolution of a flow network
        learns five times as fast. Parameters of other layers count as weights if they have two axes or more, else as
        batch norm.
        """
        first = 5.0 if self.stream == "flow" else 1.0
        settings = {
            "first weight": (first, True),
            "first bias": (2 * first, False),
            "weight": (1.0, True),
            "bias": (2.0, False),
            "norm": (1.0, False),
        }
        names: dict[str, list[str]] = {kind: [] for kind in settings}
        first_conv = next(path for path, module in self.named_modules() if isinstance(module, _WEIGHTED))
        for name, kind in self._kinds().items():
            names[f"first {kind}" if name.rpartition(".")[0] == first_conv else kind].append(name)
        return [Group(names[kind], *values, role="ordinary") for kind, values in settings.items() if names[kind]]

    def even_groups(self, *undecayed: Literal["bias", "norm"]) -> list[Group]:
        """Return groups that learn at one rate, without weight decay for these kinds of parameters.

        Kinds are those of `parameter_groups`: the biases of convolutions and linear layers, and batch or layer norm.
        """
        kinds = self._kinds()
        decaying = [name for name, kind in kinds.items() if kind not in undecayed]
        others = [name for name, kind in kinds.items() if kind in undecayed]
        groups = (Group(decaying, 1.0, True, role="ordinary"), Group(others, 1.0, False, role="ordinary"))
        return [group for group in groups if group.names]

    def _kinds(self) -> dict[str, str]:
        """Return whether each trainable parameter is a weight, a bias or part of a norm."""
        kinds = {}
        for path, module in self.named_modules():
            for name, parameter in module.named_parameters(path, recurse=False):
                if parameter.requires_grad:
                    own = "weight" if parameter.dim() >= 2 else "norm"
                    kinds[name] = name.rpartition(".")[2] if isinstance(module, _WEIGHTED) else own
        return kinds

    def deploy(self) -> Self:
        """Drop what only training needs, permanently; the logits stay the same."""
        return self

    def adapted(self, name: str, value: Tensor) -> tuple[str, Tensor] | None:
        """Return a tensor of the trunk's public weights by its name and shape here, or None if it is computed here."""
        return name, value

    def may_differ(self, name: str) -> bool:
        """Tell whether a tensor may have another shape in public weights, and is then left over."""
        return name.rpartition(".")[0] == self.classifier

    def freeze_bn(self) -> None:
        """Freeze statistics and affine parameters of all batch norm layers of the trunk but the first, permanently."""
        self.partial_bn = True
        for layer in self._batch_norms()[1:]:
            layer.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as `nn.Module.train` does, but keep frozen what `freeze_bn` froze."""
        super().train(mode)
        if self.partial_bn:
            for layer in self._batch_norms()[1:]:
                layer.eval()
        return self

    def _batch_norms(self) -> list[nn.Module]:
        layers = [(name, module) for name, module in self.named_modules() if isinstance(module, _BatchNorm)]
        return [module for name, module in layers if not name.startswith(tuple(f"{head}." for head in self.heads))]


class TrunkNetwork(Network):
    """A trunk that makes a map of the clip, dropout and a linear layer."""

    dropout: nn.Dropout
    fc: nn.Linear

    def add_classifier(self, channels: int, dropout: float, std: float = 0.001) -> None:
        """Add dropout and the last linear layer."""
        self.dropout = nn.Dropout(dropout)
        self.fc = last_linear(channels, self.num_classes, std)

    def forward_features(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the map before pooling, [B, channels, T', h, w]."""
        raise NotImplementedError

    def forward(self, clip: Tensor) -> Tensor:
        """[B, C, T, H, W] -> logits [B, K]."""
        return self.classify(self.forward_features(clip))

    def classify(self, features: Tensor) -> Tensor:
        """[B, channels, T', h, w] -> logits [B, K]."""
        raise NotImplementedError


class FrameNetwork(TrunkNetwork):
    """A 2-D trunk, applied to each frame (or snippet of flow); a clip's logits are the mean over T."""

    def classify(self, features: Tensor) -> Tensor:
        """[B, channels, T, h, w] -> logits [B, K]."""
        pooled = features.mean((3, 4)).transpose(1, 2)
        return self.fc(self.dropout(pooled)).mean(1)


class ClipNetwork(TrunkNetwork):
    """A 3-D trunk; a clip's logits are those of the mean of its map over time and space."""

    def classify(self, features: Tensor) -> Tensor:
        """[B, channels, T', h, w] -> logits [B, K]."""
        logits: Tensor = self.get_submodule(self.classifier)(self.dropout(features.mean((2, 3, 4))))
        return logits


def last_linear(channels: int, num_classes: int, std: float = 0.001) -> nn.Linear:
    """Make a last linear layer, initialised by default as in TSN."""
    layer = nn.Linear(channels, num_classes)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


_LISTS = (nn.Sequential, nn.ModuleList)


def _items(modules: nn.Module) -> list[nn.Module]:
    """Return what is in lists, and in lists of lists."""
    return [item for one in modules.children() for item in (_items(one) if type(one) in _LISTS else [one])]


_WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)


def cross_entropy(logits: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of logits [B, K] weighted by [B], in float32 whatever the logits' precision.

    Labels are int64 [B], or float [B, K], what each class counts.
    """
    return weighted_mean(F.cross_entropy(logits.float(), labels, reduction="none"), sample_weights)


def weighted_mean(each: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Return the mean of [B] weighted by [B], 0 where all sample weights are 0."""
    if sample_weights is None:
        return each.mean()
    return (each * sample_weights).sum() / sample_weights.sum().clamp_min(torch.finfo(each.dtype).tiny)


def fold(clip: Tensor) -> Tensor:
    """[B, C, T, H, W] -> [B*T, C, H, W], row b*T + t, in channels-last memory.

    Folding copies anyway, and in this order every temporal operation of a block works on a view (`unfold`).
    """
    batch, channels, frames, height, width = clip.shape
    pixels = clip.permute(0, 2, 3, 4, 1).reshape(batch * frames, height, width, channels)
    return pixels.permute(0, 3, 1, 2)


def unfold(x: Tensor, frames: int) -> Tensor:
    """[B*T, C, H, W] -> [B, T, H, W, C], a view; the inverse of `refold`."""
    pixels = x.permute(0, 2, 3, 1)
    return pixels.view(-1, frames, *pixels.shape[1:])


def refold(x: Tensor) -> Tensor:
    """[B, T, H, W, C] -> [B*T, C, H, W], a view of contiguous memory."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def temporal_average(x: Tensor) -> Tensor:
    """Average each frame of [B, T, H, W, C] with its two neighbours, which are zero beyond the ends of a clip."""
    positions = x.flatten(2, 3).permute(0, 3, 1, 2)
    averaged = F.avg_pool2d(positions, (3, 1), stride=1, padding=(1, 0))
    return averaged.permute(0, 2, 3, 1).reshape(x.shape)
