"""The networks, in plain torch: `names`, `describe` (neither loads torch when given just a name) and `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.common.describe import describe, names, network_class
from models.common.description import Description
from models.common.errors import ModelError, nearest_and_all

if TYPE_CHECKING:
    from models.common.network import Network

__all__ = ["Description", "ModelError", "build", "describe", "names"]


def build(name: str, num_classes: int, *, stream: str | None = None, **options: Any) -> Network:
    """Return a new network with random weights, in training mode, on torch's current device (`meta` included).

    Args:
        name: one of `names()`.
        num_classes: K, the length of a row of logits.
        stream: `rgb` (clips of 3 channels) or `flow` (10 channels); None takes the network's first.
        options: fields of the network's `Options`; the defaults are the paper's, and `tiny=True` builds the
            same structure at a size that one CPU core trains in minutes.

    Raises:
        ModelError: a name, stream or option is unknown, or a value is wrong.
    """
    description = describe(name)
    stream = stream or description.streams[0]
    if stream not in description.streams:
        raise ModelError(f"unknown stream {stream!r} of {name}{nearest_and_all(stream, description.streams)}")
    from models.common.options import parse

    network = network_class(description)
    return network.create(num_classes, stream=stream, options=parse(network.Options, name, options))
