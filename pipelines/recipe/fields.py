"""The fields of a recipe: their names, their types, and what is said of a value that is none of them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from pipelines.errors import UserError, did_you_mean
from pipelines.recipe.clips import check_fields
from pipelines.recipe.settings import INPUT_FIELDS, Recipe
from pipelines.recipe.strict_yaml import quoted
from tasks.clips import ClipSettings

_ADAPTER = TypeAdapter(Recipe)
_KINDS = {
    "int": "a whole number such as 10",
    "float": "a number such as 10, 0.1 or 1e-3",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "dict": "a section of fields",
    "dataclass": "a section of fields",
}
"""What a field takes, by the first word of the type of pydantic's error."""
_SHOWN = 60
"""Characters of a wrong value that are shown."""


def check_names(content: Any, where: str, owner: type = Recipe, path: str = "") -> None:
    """Raise UserError for the first field, at any depth, that its settings class does not have."""
    if not isinstance(content, Mapping):
        name = path.rstrip(".") or "it"
        if content is None:
            raise UserError(f"{where}: {name} is empty (null): give it fields, or leave it out")
        raise UserError(f"{where}: {name} should be a section of fields, not {_shown(content)}")
    hints = _fields(owner)
    for name, value in content.items():
        if name not in hints:
            known = [f"{path}{known}" for known in hints]
            raise UserError(f"{where}: unknown field {_shown(path + name)}{did_you_mean(f'{path}{name}', known)}")
        if dataclasses.is_dataclass(hints[name]):
            check_names(value, where, hints[name], f"{path}{name}.")


def validated(content: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe of plain values, none of them taken for another type than it is.

    Raises:
        UserError: a value of the wrong type or out of range; begins with `where` and names the field.
    """
    given = {name: value for name, value in content.get("input", {}).items() if value is not None}
    try:
        content = {**content, "input": check_fields(given)}
    except ValidationError as error:
        raise UserError(f"{where}: {_problem(error, 'input')}") from error
    try:
        # As JSON: only there are lists taken for tuples and mappings for settings when types are strict.
        recipe = _ADAPTER.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_problem(error)}") from error
    _refuse_converted(content, dataclasses.asdict(recipe), where)
    return recipe


def _refuse_converted(given: Mapping[str, Any], taken: Mapping[str, Any], where: str, path: str = "") -> None:
    """Raise UserError for a value that was taken for one of another type: a choice of numbers takes true for 1."""
    for name, value in given.items():
        if isinstance(value, Mapping):
            _refuse_converted(value, taken[name], where, f"{path}{name}.")
        elif isinstance(value, bool | float) and type(value) is not type(taken[name]):
            raise UserError(f"{where}: {path}{name} {_wrong('int', value)}")


def _fields(owner: type) -> dict[str, Any]:
    """Return the types of a section's fields, a settings class for those that are sections themselves."""
    hints = get_type_hints(owner)
    if owner is Recipe:
        return {**hints, "input": ClipSettings}
    return {name: hints[name] for name in INPUT_FIELDS} if owner is ClipSettings else hints


def _problem(error: ValidationError, section: str = "") -> str:
    first = error.errors()[0]
    place = (section, *first["loc"]) if section else first["loc"]
    # Branches of a union come as names such as `int` or `literal[1,3,10]`, after the field's own name.
    field = ".".join(str(part) for part in place if not re.search(r"[\[(]|^(int|float|str|bool)$", str(part)))
    match first["type"]:
        case "missing":
            return f"{field} is missing"
        case "value_error":
            return f"{field}{'.' if field else ''}{first['ctx']['error']}"
    kind = first["type"].partition("_")[0]
    wanted = _KINDS.get(kind) or first["msg"].removeprefix("Input should be ")
    given = first["input"]
    return f"{field} {_wrong(kind, given, wanted)}"


def _wrong(kind: str, given: Any, wanted: str | None = None) -> str:
    """Return what is wrong with a value that should be of this kind, after the field's name."""
    wanted = wanted or _KINDS[kind]
    if given is None:
        return f"is empty (null), but should be {wanted}"
    return f"should be {wanted}, but is {_shown(given)}{_hint(kind, given)}"


def _hint(kind: str, given: Any) -> str:
    """Return what to write instead, where that is likely."""
    if kind == "int" and isinstance(given, float) and given.is_integer():
        return f": write {int(given)}"
    if kind == "string" and isinstance(given, bool | int | float):
        return ": put it in quotes"
    if kind in ("int", "float", "bool") and isinstance(given, str) and quoted(given):
        return " in quotes: leave them out"
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
