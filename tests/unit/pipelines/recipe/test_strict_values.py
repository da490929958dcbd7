"""No value of a recipe is taken for another one, wherever it comes from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strict_recipes import BASE, document, refusal

from pipelines import recipe as recipes
from pipelines.errors import UserError
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick

CONTENT: dict[str, Any] = {"name": "strict", "data": {"dataset": "d"}, "model": {"name": "tsn"}}

NUMBER, WHOLE = "should be a number such as 10, 0.1 or 1e-3", "should be a whole number such as 10"

REFUSED = [
    ("train.epochs", "yes", f"train.epochs {WHOLE}, but is 'yes'"),
    ("train.epochs", "true", f"train.epochs {WHOLE}, but is True"),
    ("train.epochs", "1:30", f"train.epochs {WHOLE}, but is '1:30'"),
    ("train.epochs", "3.0", f"train.epochs {WHOLE}, but is 3.0: write 3"),
    ("train.epochs", "1e3", f"train.epochs {WHOLE}, but is 1000.0: write 1000"),
    ("train.epochs", "1_000", f"train.epochs {WHOLE}, but is '1_000'"),
    ("train.epochs", "010", f"train.epochs {WHOLE}, but is '010'"),
    ("train.epochs", "'10'", f"train.epochs {WHOLE}, but is '10' in quotes: leave them out"),
    ("train.epochs", "99999999999999999999", "99999999999999999999 is out of range"),
    ("train.epochs", "null", f"train.epochs is empty (null), but should be {WHOLE.removeprefix('should be ')}"),
    ("train.epochs", "~", "train.epochs is empty (null)"),
    ("train.epochs", "2026-11-29", f"train.epochs {WHOLE}, but is '2026-11-29'"),
    ("input.size", "0112", f"input.size {WHOLE}, but is '0112'"),
    ("input.size", "0x70", f"input.size {WHOLE}, but is '0x70'"),
    ("input.size", "0o160", f"input.size {WHOLE}, but is '0o160'"),
    ("input.size", "0b111", f"input.size {WHOLE}, but is '0b111'"),
    ("input.size", "112.0", f"input.size {WHOLE}, but is 112.0: write 112"),
    ("input.size", "off", f"input.size {WHOLE}, but is 'off'"),
    ("input.scales", "[1, .nan]", f"input.scales.1 {NUMBER}, but is '.nan'"),
    ("train.lr", ".inf", f"train.lr {NUMBER}, but is '.inf'"),
    ("train.lr", "-.Inf", f"train.lr {NUMBER}, but is '-.Inf'"),
    ("train.lr", ".nan", f"train.lr {NUMBER}, but is '.nan'"),
    ("train.lr", "inf", f"train.lr {NUMBER}, but is 'inf'"),
    ("train.lr", "1e999", "1e999 is out of range of a floating-point number"),
    ("train.lr", "1e-999", "1e-999 is out of range of a floating-point number"),
    ("train.lr", "0,1", f"train.lr {NUMBER}, but is '0,1'"),
    ("train.lr", "00.1", f"train.lr {NUMBER}, but is '00.1'"),
    ("train.lr", "false", f"train.lr {NUMBER}, but is False"),
    ("train.lr", "[0.1]", f"train.lr {NUMBER}, but is [0.1]"),
    ("train.nesterov", "yes", "train.nesterov should be true or false, but is 'yes'"),
    ("train.nesterov", "On", "train.nesterov should be true or false, but is 'On'"),
    ("train.nesterov", "1", "train.nesterov should be true or false, but is 1"),
    ("train.nesterov", "'true'", "train.nesterov should be true or false, but is 'true' in quotes: leave them out"),
    ("evaluate.crops", "3.0", f"evaluate.crops {WHOLE}, but is 3.0: write 3"),
    ("evaluate.crops", "true", f"evaluate.crops {WHOLE}, but is True"),
    ("evaluate.crops", "4", "evaluate.crops should be 1, 3 or 10, but is 4"),
    ("data.split", "1", "data.split should be text, but is 1: put it in quotes"),
    ("name", "20261129", "name should be text, but is 20261129: put it in quotes"),
    ("name", "true", "name should be text, but is True: put it in quotes"),
    ("data.dataset", "''", "data.dataset is empty: give a path or a URL"),
]


@pytest.mark.parametrize(("field", "value", "says"), REFUSED)
def test_a_value_that_only_looks_like_one_is_refused_by_its_field(
    file: Path, field: str, value: str, says: str
) -> None:
    """In a file and behind --set alike."""
    file.write_text(document(field, value))
    assert says in refusal(file)
    file.write_text(BASE)
    assert says in refusal(file, f"{field}={value}")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("train.epochs", "10", 10),
        ("train.epochs", "+10", 10),
        ("train.lr", "10", 10.0),
        ("train.lr", ".5", 0.5),
        ("train.lr", "5.", 5.0),
        ("train.lr", "1E-3", 0.001),
        ("train.lr", "+1e-3", 0.001),
        ("train.nesterov", "true", True),
        ("train.nesterov", "False", False),
        ("train.clip_norm", "null", None),
        ("train.clip_norm", "~", None),
        ("data.split", "split1", "split1"),
        ("data.split", "'1'", "1"),
        ("data.split", "01", "01"),
        ("data.split", "no", "no"),
        ("data.split", "1:30", "1:30"),
        ("data.fold", "group=P1", "group=P1"),
        ("name", "2026-11-29", "2026-11-29"),
        ("name", "2026-11-29_10", "2026-11-29_10"),
        ("name", "on", "on"),
        ("train.milestones", "[1, 2.5]", (1.0, 2.5)),
    ],
)
def test_a_value_is_what_is_written(file: Path, field: str, value: str, expected: object) -> None:
    file.write_text(document(field, value))
    for recipe in (recipes.load(file), recipes.load(recipes.parse(CONTENT), [f"{field}={value}"])):
        found: object = recipe
        for part in field.split("."):
            found = getattr(found, part)
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("word", "source"),
    [
        ("/videos #1", "/videos #1"),
        ("/videos: all", "/videos: all"),
        ("/it's & #2 *x", "/it's & #2 *x"),
        ("/a, b] }", "/a, b] }"),
        ("  /videos ", "/videos"),
        ('"/videos #1"', "/videos #1"),
        ("'[1] of 2'", None),
    ],
)
def test_nothing_of_a_word_is_cut(word: str, source: str | None, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found = recipes.load(recipes.parse(CONTENT), [f"data.source={word}"]).data.source
    assert found == (source or f"{tmp_path}/[1] of 2")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("train.lr=0.1 # slow", "but is '0.1 # slow'"),
        ("train.milestones=[1, 2] # two", "--set train.milestones: the value ends before '# two'"),
        ("train.milestones=[1, 2] 3", "--set train.milestones: the value is not YAML"),
        ("data.source=[1]/videos", "put a text that begins like this in quotes"),
        ("train.milestones=[1, #2\n 3]", "--set train.milestones: the value must be one line"),
        ("train.milestones=[1, 2", "--set train.milestones: the value is not YAML"),
        ("data.source=", "--set data.source: there is no value; write null for none"),
        ("data.source=   ", "--set data.source: there is no value"),
        ("train=lr: 0.1", "train should be a section of fields, not 'lr: 0.1'"),
        ("model.options={a: 1, a: 2}", "--set model.options: a is given twice"),
        ("model.options={a: !!python/name:os.system x}", "--set model.options: recipes have no tags"),
    ],
)
def test_a_word_is_taken_whole_or_not_at_all(word: str, says: str) -> None:
    assert says in refusal(recipes.parse(CONTENT), word)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"train.lr": math.nan}, "--set train.lr: train.lr must be a finite number, not nan"),
        ({"train.lr": math.inf}, "--set train.lr: train.lr must be a finite number, not inf"),
        ({"train.lr": "0.1"}, f"train.lr {NUMBER}, but is '0.1'"),
        ({"train.epochs": 3.0}, f"train.epochs {WHOLE}, but is 3.0: write 3"),
        ({"train.epochs": True}, f"train.epochs {WHOLE}, but is True"),
        ({"train.epochs": 2**70}, "train.epochs is out of range"),
        ({"train.milestones": {1, 2}}, "train.milestones is of the type set, which a recipe cannot hold"),
        ({"model.options": {1: 2}}, "model.options has a name that is not text: 1"),
        ({"model.options": {"a": b"x"}}, "model.options.a is of the type bytes"),
        ({"data.split": "a\0b"}, "data.split holds a NUL character"),
        ({"": 1}, "unknown field ''"),
        ({1: 2}, "overrides have the name of a field as text, not 1"),
        ({"train..lr": 1}, "unknown field 'train.'"),
    ],
)
def test_values_from_python_are_read_as_strictly(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        recipes.load(recipes.parse(CONTENT), overrides)
    assert says in str(caught.value)


def test_numbers_of_numpy_and_paths_are_plain_values() -> None:
    given = {
        "train.lr": np.float32(0.5),
        "train.epochs": np.int64(3),
        "data.source": Path("/videos"),
        "train.betas": (0, 1),
    }
    recipe = recipes.load(recipes.parse(CONTENT), given)
    assert (recipe.train.lr, recipe.train.epochs, recipe.data.source, recipe.train.betas) == (0.5, 3, "/videos", (0, 1))
    assert type(recipe.train.epochs) is int


def test_typed_settings_are_checked_when_a_recipe_is_used() -> None:
    recipe = replace(recipes.parse(CONTENT), train=TrainSettings(epochs=True))
    with pytest.raises(UserError, match=r"train\.epochs should be a whole number such as 10, but is True"):
        recipes.load(recipe)
    recipe = replace(recipes.parse(CONTENT), model=recipes.ModelSettings(name="tsn", options={"dropout": math.nan}))
    with pytest.raises(UserError, match=r"model\.options\.dropout must be a finite number, not nan"):
        recipes.load(recipe)


def test_a_stored_recipe_is_read_as_strictly() -> None:
    """As a checkpoint or the folder of a run keeps it: JSON, which has NaN in Python."""
    stored = json.loads(json.dumps({**CONTENT, "train": {"lr": math.nan}}))
    with pytest.raises(UserError, match=r"^the recipe of run r: train\.lr must be a finite number"):
        recipes.parse(stored, where="the recipe of run r")
    deep: Any = 1
    for _ in range(30):
        deep = [deep]
    with pytest.raises(UserError, match=r"^the recipe of run r is more than 20 levels deep"):
        recipes.parse({**CONTENT, "model": {"name": "tsn", "options": {"a": deep}}}, where="the recipe of run r")
    with pytest.raises(UserError, match=r"the recipe of run r: it should be a section of fields, not \[\]"):
        recipes.parse([], where="the recipe of run r")  # type: ignore[arg-type]


def test_no_zero_has_a_sign(file: Path) -> None:
    for recipe in (
        recipes.load(recipes.parse(CONTENT), ["train.min_lr=-0.0"]),
        recipes.load(recipes.parse(CONTENT), {"train.min_lr": -0.0}),
    ):
        assert math.copysign(1, recipe.train.min_lr) == 1


@pytest.mark.parametrize(
    ("word", "space"),
    [
        ("search.space.train.lr.choice=[0.1, 0.2]", {"train.lr": {"choice": [0.1, 0.2]}}),
        ("search.space.train.lr={choice: [0.1]}", {"train.lr": {"choice": [0.1]}}),
        (
            "search.space.model.options.dropout.uniform=[0.1, 0.9]",
            {"train.lr": {"uniform": [0.1, 0.2]}, "model.options.dropout": {"uniform": [0.1, 0.9]}},
        ),
        ("search.space={input.size: {choice: [32]}}", {"input.size": {"choice": [32]}}),
        ("search={space: {input.size: {choice: [32]}}}", {"input.size": {"choice": [32]}}),
    ],
)
def test_a_field_of_a_search_has_dots_in_its_name(word: str, space: dict[str, Any]) -> None:
    recipe = recipes.parse({**CONTENT, "search": {"space": {"train.lr": {"uniform": [0.1, 0.2]}}}})
    assert recipes.load(recipe, [word]).search.space == space
