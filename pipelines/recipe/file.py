"""Recipe files: YAML read strictly into `pipelines.recipe.Recipe`, and written back.

A relative path in a recipe is read from the current folder, as a path on the command line is; it is made absolute here,
before it reaches a worker that runs in another folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from models import describe
from pipelines.errors import UserError, did_you_mean
from pipelines.places import absolute_run, is_file
from pipelines.recipe import strict_yaml
from pipelines.recipe.fields import check_names, validated
from pipelines.recipe.settings import WEIGHT_FILES, Recipe
from pipelines.recipe.values import assign, copied, shown_word
from tasks.data import storage
from tasks.remote import reason, refuse_credentials

BUILT_IN = Path(__file__).parents[1] / "recipes"
"""A recipe in this folder is found by its name alone."""
GONE = ("accumulate",)
"""Fields of `train` that earlier versions wrote down with their runs."""


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
    content = strict_yaml.read(_read_text(file, where), where)
    if not isinstance(content, dict):
        raise UserError(f"{where} holds no fields: it should read `name: ...`, `data: ...`, `model: ...`")
    return parse(content, values, where)


def parse(content: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, where: str = "recipe") -> Recipe:
    """Make a recipe of nested mappings, as `to_dict` returns; `overrides` are values by dotted field name.

    Raises:
        UserError: as `load`.
    """
    values: dict[str, Any] = copied(content, where)
    check_names(values, where)
    for name, value in (overrides or {}).items():
        if not isinstance(name, str):
            raise UserError(f"overrides have the name of a field as text, not {name!r}")
        given = f"--set {shown_word(name)}"
        assign(values, name, copied(value, given, name))
        check_names(values, given)
    recipe = validated(values, where)
    for address in (recipe.data.dataset, recipe.data.source, recipe.model.weights):
        refuse_credentials(address or "")
    describe(recipe.model.name)
    data = dataclasses.replace(
        recipe.data,
        dataset=storage.absolute(recipe.data.dataset),
        source=None if recipe.data.source is None else storage.absolute(recipe.data.source),
    )
    weights = recipe.model.weights
    if weights is not None:
        weights = storage.absolute(weights) if weights.endswith(WEIGHT_FILES) else absolute_run(weights)
    return dataclasses.replace(recipe, data=data, model=dataclasses.replace(recipe.model, weights=weights))


def recorded(content: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Return the recipe that a run wrote down, perhaps with fields that have gone since.

    Raises:
        UserError: as `load`.
    """
    train = content.get("train")
    if isinstance(train, dict):
        content = {**content, "train": {name: value for name, value in train.items() if name not in GONE}}
    return parse(content, where=where)


def replaced(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with other values at the given dotted field names, checked as a file's are."""
    return parse(to_dict(recipe), values)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return every field, the defaults too, as plain mappings and lists."""
    # Validated once more, because a default of 0 for a float field would differ from the 0.0 that is read back.
    return _plain(validated(_plain(recipe), "recipe"))


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
        raise UserError(f"--set {shown_word(text)}: write it as field=value, such as train.lr=0.02")
    name = name.strip()
    return name, strict_yaml.read_word(value, f"--set {shown_word(name)}")


def _plain(recipe: Recipe) -> dict[str, Any]:
    plain: dict[str, Any] = copied(dataclasses.asdict(recipe), "recipe")
    return plain


def _find(path: Path) -> Path:
    if is_file(path):
        return path
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"no recipe at {path}: give a recipe file, or the name of a built-in recipe")
    names = [file.stem for file in BUILT_IN.glob("*.yaml")]
    if path.name not in names:
        raise UserError(f"no recipe file {path}, and no built-in recipe of that name{did_you_mean(path.name, names)}")
    return BUILT_IN / f"{path.name}.yaml"


def _read_text(file: Path, where: str) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(strict_yaml.LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{where} cannot be read: {reason(error)}") from error
    if len(content) > strict_yaml.LARGEST_FILE:
        raise UserError(f"{where} is too large: at most {strict_yaml.LARGEST_FILE:,} bytes are read as a recipe")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text (byte {error.start + 1}): save it as UTF-8") from error
