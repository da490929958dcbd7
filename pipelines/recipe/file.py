"""Recipe files: YAML read strictly into `pipelines.recipe.Recipe`, and written back.

A relative path in a recipe is relative to the current folder, as a path on the command line is; it is made absolute
here, before it reaches a worker that runs in another folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from models import describe
from pipelines.errors import UserError, did_you_mean
from pipelines.recipe.clips import check_fields
from pipelines.recipe.settings import INPUT_FIELDS, WEIGHT_FILES, Recipe
from tasks.clips import ClipSettings
from tasks.remote import refuse_credentials

BUILT_IN = Path(__file__).parents[1] / "recipes"
"""A recipe in this folder is found by its name alone."""

_ADAPTER = TypeAdapter(Recipe)


def load(given: Recipe | str | Path, overrides: Mapping[str, Any] | Iterable[str] | None = None) -> Recipe:
    """Return a recipe: read from a file, a built-in one by name, or one that is loaded already.

    Args:
        given: a YAML file, the name of a file in `pipelines/recipes` without its ending, or a recipe.
        overrides: values by the full name of their fields, such as `{"train.lr": 0.02}`; or as on the command line,
            `train.lr=0.02` with a YAML value.

    Raises:
        UserError: no such file, not YAML, an unknown or missing field, a value of the wrong type or out of range.
        ModelError: an unknown network.
    """
    values = overrides if isinstance(overrides, Mapping) else dict(assignment(text) for text in overrides or ())
    if isinstance(given, Recipe):
        return replaced(given, values)
    file = _find(Path(given))
    where = f"recipe {file.name if file.parent == BUILT_IN else given}"
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{where} is not YAML: {_yaml_problem(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{where} holds no fields: it should read `name: ...`, `data: ...`, `model: ...`")
    return parse(content, values, where)


def parse(content: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, where: str = "recipe") -> Recipe:
    """Make a recipe of nested mappings, as `to_dict` returns; `overrides` are values by dotted field name.

    Raises:
        UserError: as `load`.
    """
    _check_names(content, Recipe, "", where)
    content = json.loads(json.dumps(content))  # a copy
    for name, value in (overrides or {}).items():
        _assign(content, name, value)
        _check_names(content, Recipe, "", f"--set {name}")
    recipe = _validated(content, where)
    for address in (recipe.data.dataset, recipe.data.source, recipe.model.weights):
        refuse_credentials(address or "")
    describe(recipe.model.name)
    data = dataclasses.replace(
        recipe.data,
        dataset=_absolute(recipe.data.dataset),
        source=None if recipe.data.source is None else _absolute(recipe.data.source),
    )
    weights = recipe.model.weights
    if weights is not None and weights.endswith(WEIGHT_FILES):
        weights = _absolute(weights)
    return dataclasses.replace(recipe, data=data, model=dataclasses.replace(recipe.model, weights=weights))


def replaced(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with other values at the given dotted field names, checked as a file's are."""
    return parse(to_dict(recipe), values)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return every field, the defaults too, as plain mappings and lists."""
    # Validated once more, because a default of 0 for a float field would differ from the 0.0 that is read back.
    return _plain(_validated(_plain(recipe), "recipe"))


def digest(recipe: Recipe) -> str:
    """Return the SHA-256 of every field, in hex."""
    return hashlib.sha256(json.dumps(to_dict(recipe), sort_keys=True).encode()).hexdigest()


def dump(recipe: Recipe) -> str:
    """Return the text of a recipe file that `load` reads back as the same recipe."""
    return yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True)


def assignment(text: str) -> tuple[str, Any]:
    """Return the field and the value of `field=value`, such as `train.lr=0.02`; raise UserError for any other text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: write it as field=value, such as train.lr=0.02")
    try:
        return name.strip(), yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text}: the value is not YAML") from error


class _Loader(yaml.SafeLoader):
    """YAML that knows 1e-3 as a number and refuses to give a field twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


# YAML 1.1 asks for a point in every float; people write 1e-3.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _plain(recipe: Recipe) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"no recipe at {path}: give a recipe file, or the name of a built-in recipe")
    names = [file.stem for file in BUILT_IN.glob("*.yaml")]
    if path.name not in names:
        raise UserError(f"no recipe file {path}, and no built-in recipe of that name{did_you_mean(path.name, names)}")
    return BUILT_IN / f"{path.name}.yaml"


def _assign(content: Any, name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise UserError(f"--set {name}: {section} is a value, not a section")
    content[last] = value


def _validated(content: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe of these fields, each converted to its type."""
    given = {name: value for name, value in content.get("input", {}).items() if value is not None}
    try:
        content = {**content, "input": check_fields(given)}
    except ValidationError as error:
        raise UserError(f"{where}: {_problem(error, 'input')}") from error
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        raise UserError(f"{where}: {_problem(error)}") from error


def _fields(owner: type) -> dict[str, Any]:
    """Return the types of a section's fields, a settings class for those that are sections themselves."""
    hints = get_type_hints(owner)
    if owner is Recipe:
        return {**hints, "input": ClipSettings}
    return {name: hints[name] for name in INPUT_FIELDS} if owner is ClipSettings else hints


def _check_names(content: Any, owner: type, path: str, where: str) -> None:
    """Raise UserError for the first field, at any depth, that its settings class does not have."""
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: {path.rstrip('.')} should be a section of fields, not {content!r}")
    hints = _fields(owner)
    for name, value in content.items():
        if name not in hints:
            known = [f"{path}{known}" for known in hints]
            raise UserError(f"{where}: unknown field {path + name!r}{did_you_mean(f'{path}{name}', known)}")
        if dataclasses.is_dataclass(hints[name]):
            _check_names(value, hints[name], f"{path}{name}.", where)


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error)


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
    wanted = first["msg"].removeprefix("Input should be ")
    if first["type"] != "literal_error":
        wanted = wanted.partition(",")[0].replace("valid tuple", "list")
    return f"{field} should be {wanted}, but is {first['input']!r}"


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())
