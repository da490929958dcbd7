"""The values of a recipe before they have types: plain mappings, lists, text and numbers, wherever they come from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from pipelines.errors import UserError
from pipelines.numbers import LARGEST_INTEGER, SMALLEST_INTEGER
from pipelines.recipe.strict_yaml import DEEPEST, MOST_VALUES

SPACE = "search.space"
"""The section whose names hold dots: they are fields of the recipe."""
WHEN = "when"
"""The condition beside the distribution of a field there."""
_SHOWN = 80
"""Characters of a word that are shown."""


def copied(value: Any, where: str, field: str = "") -> Any:
    """Return a copy that JSON holds unchanged: tuples as lists, paths as text, numbers of numpy as Python's.

    Raises:
        UserError: a value that no recipe can hold, such as a number that is not finite; begins with `where` and names
            the field.
    """
    return _Copy(where).of(value, field, 1)


class _Copy:
    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0

    def of(self, value: Any, field: str, depth: int) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise UserError(f"{self._where} holds more than {MOST_VALUES:,} values")
        if depth > DEEPEST:
            raise UserError(f"{self._where} is more than {DEEPEST} levels deep")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, field)
        if isinstance(value, Real):
            return self._number(value, field)
        if isinstance(value, os.PathLike):
            return self.of(os.fspath(value), field, depth)
        if isinstance(value, Mapping):
            return {self._name(key, field): self.of(each, _below(field, key), depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(each, _below(field, index), depth + 1) for index, each in enumerate(value)]
        raise UserError(f"{self._where}: {field} is of the type {type(value).__name__}, which a recipe cannot hold")

    def _name(self, key: Any, field: str) -> str:
        if not isinstance(key, str):
            raise UserError(f"{self._where}: {field or 'it'} has a name that is not text: {key!r}")
        return self._text(key, field)

    def _text(self, text: str, field: str) -> str:
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            raise UserError(f"{self._where}: {field} is text that UTF-8 cannot write: {text!r}") from None
        if b"\0" in encoded:
            raise UserError(f"{self._where}: {field} holds a NUL character: {text!r}")
        return str(text)

    def _number(self, number: Real, field: str) -> int | float:
        if isinstance(number, Integral):
            whole = int(number)
            if not SMALLEST_INTEGER <= whole <= LARGEST_INTEGER:
                raise UserError(f"{self._where}: {field} is out of range: whole numbers have at most 64 bits")
            return whole
        plain = float(number) + 0.0  # without the sign of a zero
        if not math.isfinite(plain):
            raise UserError(f"{self._where}: {field} must be a finite number, not {plain}")
        return plain


def assign(content: dict[str, Any], name: str, value: Any) -> None:
    """Set the field of this dotted name in nested mappings, which are made where they are missing.

    Raises:
        UserError: the name leads through a value that is not a section.
    """
    place, path = content, name.split(".")
    if name.startswith(f"{SPACE}."):
        path = [*SPACE.split("."), *_in_space(name.removeprefix(f"{SPACE}."), value)]
        if len(path) == 4 and path[3] != WHEN:
            there: Any = place
            for section in path[:3]:
                there = there.get(section) if isinstance(there, Mapping) else None
            condition = {WHEN: there[WHEN]} if isinstance(there, Mapping) and WHEN in there else {}
            value, path = {path[3]: value, **condition}, path[:3]  # in place of the distribution that is there
    for depth, section in enumerate(path[:-1]):
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {shown_word(name)}: {'.'.join(path[: depth + 1])} is a value, not a section")
    place[path[-1]] = value


def shown_word(text: str) -> str:
    """Return a word of the command line as messages show it: in one line, and no longer than that."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def _in_space(name: str, value: Any) -> list[str]:
    """Return the field, and the distribution where the value itself is none: `train.lr`, `choice`."""
    field, dot, distribution = name.rpartition(".")
    whole = isinstance(value, Mapping) and distribution != WHEN
    return [name] if whole or not dot else [field, distribution]


def _below(field: str, name: Any) -> str:
    return f"{field}.{name}" if field else str(name)
