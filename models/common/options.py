"""Options of networks: frozen dataclasses, filled strictly because values come from recipes and command lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from models.common.description import Description
from models.common.errors import ModelError, did_you_mean, nearest_and_all


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of every network's options. Defaults are the paper's."""

    TINY: ClassVar[Mapping[str, Any]] = {}
    """Defaults under `tiny=True`; values given explicitly still win."""

    tiny: bool = False
    """The same structure at a size that one CPU core trains in minutes."""

    def adapt(self, description: Description) -> Description:
        """Return the description of the network that these options make."""
        return description


AnyOptions = TypeVar("AnyOptions", bound=Options)


def parse(cls: type[AnyOptions], network: str, given: Mapping[str, Any]) -> AnyOptions:
    """Fill `cls`; an unknown option or a wrong value raises a `ModelError` that lists the right ones."""
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls)]
    for option, value in given.items():
        if option not in known:
            raise ModelError(f"unknown option {option!r} of {network}{nearest_and_all(option, known)}")
        if not _fits(value, hints[option]):
            raise ModelError(f"{network}: {option} must be {_expected(value, hints[option])}")
    preset = cls.TINY if given.get("tiny") else {}
    # YAML and JSON have lists instead of tuples.
    plain = {option: tuple(value) if isinstance(value, list) else value for option, value in given.items()}
    return cls(**{**preset, **plain})


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if get_args(hint):
        return any(_fits(value, part) for part in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _expected(value: Any, hint: Any) -> str:
    if get_origin(hint) is Literal:
        choices = [str(choice) for choice in get_args(hint)]
        end = did_you_mean(value, choices)
        return f"one of {', '.join(choices)}, not {value!r}{end if end.endswith('?') else ''}"
    if get_origin(hint) is tuple:
        return f"a list, each item {_KINDS[get_args(hint)[0]]}, not {value!r}"
    kinds = [_KINDS[part] for part in get_args(hint) or (hint,) if part is not NoneType]
    return f"{' or '.join(kinds)}, not {value!r}"
