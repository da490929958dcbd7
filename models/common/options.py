"""Options of networks: frozen dataclasses filled strictly, because they come from recipes and command lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from models.common.description import Description
from models.common.errors import ModelError, nearest


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of every network's options. Defaults are the paper's."""

    TINY: ClassVar[Mapping[str, Any]] = {}
    """Defaults that `tiny=True` has instead; whatever is given explicitly still wins."""

    tiny: bool = False
    """The same structure at a size that one CPU core trains in minutes."""

    def adapt(self, description: Description) -> Description:
        """The description of the network that these options make."""
        return description


def check_rates(options: Options, *names: str) -> None:
    """Raise `ModelError` unless these options are None or lie in [0, 1)."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 <= value < 1:
            raise ModelError(f"{name}={value} is not right; it lies in [0, 1).")


AnyOptions = TypeVar("AnyOptions", bound=Options)


def parse(cls: type[AnyOptions], network: str, given: Mapping[str, Any]) -> AnyOptions:
    """Fill `cls`; an unknown option or a wrong value is a `ModelError` that lists the right ones."""
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls)]
    for option, value in given.items():
        if option not in known:
            raise ModelError(f"{network} has no option {option!r}; {nearest(option, known, 'options')}.")
        if not _fits(value, hints[option]):
            raise ModelError(f"{network}: {option}={value!r} is not right; {_expected(value, hints[option])}.")
    preset = cls.TINY if given.get("tiny") else {}
    # Lists are what YAML and JSON have for tuples.
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


def _expected(value: Any, hint: Any) -> str:
    if get_origin(hint) is Literal:
        return nearest(value, [str(choice) for choice in get_args(hint)], "choices")
    if get_origin(hint) is tuple:
        return f"a list of {get_args(hint)[0].__name__} is expected"
    kinds = [part.__name__ for part in get_args(hint) or (hint,) if part is not NoneType]
    return f"{' or '.join(kinds)} is expected"
