"""Networks by name: what each one is and how its paper uses it, without torch.

`marey models`, clip cutting and evaluation read these descriptions and never compare a network's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.common.catalogue import FRAMES
from models.common.catalogue_3d import VOLUMES
from models.common.description import Description
from models.common.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from models.common.network import Network

_BY_NAME = {description.name: description for description in (*FRAMES, *VOLUMES)}


def names() -> list[str]:
    """Return the names that `build` takes."""
    return list(_BY_NAME)


def describe(name: str, options: Mapping[str, Any] | None = None) -> Description:
    """Describe a network as these options make it: some change how clips are cut. With options, torch loads.

    Raises:
        ModelError: the name or an option is unknown, or a value is wrong.
    """
    if name not in _BY_NAME:
        raise ModelError(f"unknown network {name!r}{did_you_mean(name, names())}")
    description = _BY_NAME[name]
    if not options:
        return description
    from models.common.options import parse

    return parse(network_class(description).Options, name, options).adapt(description)


def network_class(description: Description) -> type[Network]:
    """Return the class whose `create` makes the network."""
    module, class_name = description.factory.split(":")
    found: type[Network] = getattr(import_module(module), class_name)
    return found
