"""Initial weights from files: ImageNet weights as torchvision or timm name them, or our own checkpoints.

Layers of a ResNet keep torchvision's names in every network here, and those of BN-Inception the names of its public
weights, so files load unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from models.common.errors import ModelError
from models.common.network import Network

FIRST = ("conv1.weight", "conv1_7x7_s2.weight")
"""First convolutions of ResNets and of BN-Inception."""
WRAPPERS = ("state_dict", "model", "model_state")
"""Keys under which training scripts store the weights."""
SHOWN = 5
LEAST = 0.25
"""Share of a file's tensors that must have a place in the network; a few names are alike in networks that are not."""


@dataclass(frozen=True)
class Adopted:
    """Which tensors of a file were loaded into a network, and which were not."""

    loaded: list[str]
    """Tensors of the network that now have the file's values."""
    new: list[str]
    """Tensors of the network that the file lacks or has for another number of classes; they stay as built."""
    left: list[str]
    """Tensors of the file that the network does not use."""

    def __str__(self) -> str:
        return f"{len(self.loaded)} tensors loaded; new: {_some(self.new)}; left over: {_some(self.left)}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"


def unwrap(content: object, source: str) -> dict[str, Tensor]:
    """Return the tensors of a loaded file by their names in a network.

    Args:
        content: result of `torch.load(..., weights_only=True)` or of safetensors.
        source: the file's name, for the error.

    Raises:
        ModelError: it contains no tensors.
    """
    for _ in WRAPPERS:  # once each: a file may hold itself
        inner = next((key for key in WRAPPERS if isinstance(content, Mapping) and key in content), None)
        content = content[inner] if isinstance(content, Mapping) and inner else content
    tensors = content.items() if isinstance(content, Mapping) else []
    state = {str(name).removeprefix("module."): value for name, value in tensors if isinstance(value, Tensor)}
    odd = next((name for name, value in state.items() if value.layout != torch.strided or value.is_complex()), None)
    if odd is not None:
        raise ModelError(f"{source} holds no weights of a network: {odd} is sparse or complex")
    if not state:
        raise ModelError(f"{source} holds no weights: a mapping of names to tensors is expected")
    return state


@torch.no_grad()
def adopt(network: Network, state: Mapping[str, Tensor], source: str) -> Adopted:
    """Copy the tensors of `state` into a network.

    A first convolution for three colours is adapted to flow: each of its inputs becomes the mean over the colours, not
    rescaled (docs/papers/tsn-protocol.md, section 4). A 2-D kernel becomes a 3-D one with the same result on a still
    clip: repeated along time and divided by its length (docs/papers/backbones.md, section 1). A classifier for another
    number of classes is left over, and so is what the network says may have another width.

    Raises:
        ModelError: less than a quarter of the file has a place, a tensor has another shape, or its norms are not batch
            norm: the file is of another network.
    """
    own = network.state_dict()
    fitting: dict[str, Tensor] = {}
    left = []
    for public, given in state.items():
        ours = network.adapted(public, given)
        if ours is None:
            continue
        name, value = ours
        target = own.get(name)
        if target is not None and target.dim() == 1 and value.shape == (1, *target.shape):
            value = value[0]  # files of early torch versions store batch norm's tensors like this
        if target is not None and name in FIRST and value.dim() == 4 and value.shape[1] == 3 != target.shape[1]:
            value = value.mean(1, keepdim=True).expand(-1, target.shape[1], -1, -1)
        if target is not None and target.dim() == 5 and value.dim() == 4:
            value = value.unsqueeze(2).expand(-1, -1, target.shape[2], -1, -1) / target.shape[2]
        if target is None or (network.may_differ(name) and value.shape != target.shape):
            left.append(public)
            continue
        if value.shape != target.shape:
            raise ModelError(
                f"{source} is of another network: {name} is {list(value.shape)} there and {list(target.shape)} here"
            )
        fitting[name] = value
    _refuse_other_network(network, list(fitting), len(fitting) + len(left), source)
    for name, value in fitting.items():
        own[name].copy_(value)
    # Files of old torch versions lack this counter, which nothing here reads.
    new = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    return Adopted(list(fitting), new, sorted(left))


def _refuse_other_network(network: Network, fitting: list[str], count: int, source: str) -> None:
    """Raise `ModelError` unless enough of a file's tensors have a place, statistics of batch norm among them."""
    if not set(fitting) & dict(network.named_parameters()).keys():
        raise ModelError(f"{source} is of another network: none of its {count} tensors has a place in this one")
    if len(fitting) < LEAST * count:
        raise ModelError(
            f"{source} is of another network: fewer than a quarter of its tensors, {len(fitting)} of {count}, have a "
            f"place in this one: {_some(fitting)}"
        )
    for path, layer in network.named_modules():
        if not isinstance(layer, _BatchNorm) or layer.running_mean is None or f"{path}.weight" not in fitting:
            continue
        if not {f"{path}.running_mean", f"{path}.running_var"} <= set(fitting):
            raise ModelError(
                f"{source} is of another network: {path} has no running mean and variance there, so it is not "
                "batch norm; group norm and the like do not fit"
            )
