from dataclasses import replace

import pytest

from pipelines.errors import UserError
from pipelines.recipe import DataSettings, ModelSettings, Recipe, SearchSettings
from pipelines.tune.space import parse_space, plain_values

pytestmark = pytest.mark.quick

RECIPE = Recipe(name="r", data=DataSettings(dataset="d"), model=ModelSettings(name="stm"))


def space(**fields):
    return replace(RECIPE, search=SearchSettings(space=fields.pop("space", fields)))


def test_every_distribution_is_understood():
    checked = parse_space(
        space(
            space={
                "train.lr": {"log_uniform": [1e-4, 0.1]},
                "train.momentum": {"uniform": [0, 0.9]},
                "input.segments": {"int_uniform": [4, 8]},
                "train.optimizer": {"choice": ["sgd", "adamw"]},
                "model.options.dropout": {"uniform": [0.1, 0.9]},
            }
        )
    )
    assert checked["train.lr"] == ("log_uniform", [1e-4, 0.1])
    assert checked["input.segments"] == ("int_uniform", [4, 8])
    assert checked["train.optimizer"] == ("choice", ["sgd", "adamw"])
    assert checked["model.options.dropout"] == ("uniform", [0.1, 0.9])


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("train.rl", {"uniform": [0, 1]}, "did you mean 'train.lr'"),
        ("train.epochs", {"choice": [5, 10]}, "cannot vary"),
        ("data.dataset", {"choice": ["a"]}, "cannot vary"),
        ("train.lr", {"loguniform": [1e-4, 1]}, "did you mean 'log_uniform'"),
        ("train.lr", 0.1, "one distribution"),
        ("train.lr", {"uniform": [1, 0]}, "lowest < highest"),
        ("train.lr", {"log_uniform": [0, 1]}, "0 < lowest"),
        ("train.lr", {"uniform": ["a", 1]}, "lowest < highest"),
        ("train.lr", {"choice": []}, "takes a list"),
    ],
)
def test_a_wrong_space_is_one_sentence(field, value, says):
    with pytest.raises(UserError, match=says):
        parse_space(space(space={field: value}))


def test_an_empty_space_is_refused():
    with pytest.raises(UserError, match=r"no search\.space"):
        parse_space(RECIPE)


def test_sampled_numpy_values_become_plain_ones():
    import numpy as np

    point = plain_values({"train.lr": np.float64(0.1), "train.optimizer": "sgd"})
    assert point == {"train.lr": 0.1, "train.optimizer": "sgd"}
    assert type(point["train.lr"]) is float
