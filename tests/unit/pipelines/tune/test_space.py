from dataclasses import replace

import pytest

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.recipe import DataSettings, ModelSettings, Recipe, SearchSettings
from pipelines.tune.defaults import filled
from pipelines.tune.space import Dimension, grid_points, parse_space, plain_values

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
    assert checked["train.lr"] == Dimension("log_uniform", [1e-4, 0.1])
    assert checked["input.segments"] == Dimension("int_uniform", [4, 8])
    assert checked["train.optimizer"] == Dimension("choice", ["sgd", "adamw"])
    assert checked["model.options.dropout"] == Dimension("uniform", [0.1, 0.9])


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
        ("train.lr", {"when": {"train.optimizer": "sgd"}}, "one distribution"),
        ("train.lr", {"choice": [0.1], "when": "sgd"}, "when takes other fields"),
        ("train.lr", {"choice": [0.1], "when": {"train.optimiser": "sgd"}}, "which the search does not vary"),
        ("train.lr", {"choice": [0.1], "when": {"train.lr": 0.1}}, "train.lr go in a circle"),
        ("train.lr", {"choice": [0.1], "when": {"train.lr": 0.2}}, "does not list: 0.1"),
        ("model.options.dropuot", {"uniform": [0, 1]}, "did you mean 'dropout'"),
        ("model.name", {"choice": ["stm", "tms"]}, "unknown network 'tms'"),
    ],
)
def test_a_wrong_space_is_one_sentence(field, value, says):
    with pytest.raises(UserError, match=says):
        parse_space(space(space={field: value}))


CONDITIONAL = {
    "train.momentum": {"choice": [0.8, 0.9], "when": {"train.optimizer": "sgd"}},
    "train.optimizer": {"choice": ["sgd", "adamw"]},
    "train.nesterov": {"choice": [True, False], "when": {"train.momentum": [0.9]}},
}


def test_a_field_comes_after_those_of_its_condition_and_is_varied_only_where_that_holds():
    assert list(parse_space(space(space=CONDITIONAL))) == ["train.optimizer", "train.momentum", "train.nesterov"]
    points = grid_points(parse_space(space(space=CONDITIONAL)))
    assert points == [
        {"train.optimizer": "sgd", "train.momentum": 0.8},
        {"train.optimizer": "sgd", "train.momentum": 0.9, "train.nesterov": True},
        {"train.optimizer": "sgd", "train.momentum": 0.9, "train.nesterov": False},
        {"train.optimizer": "adamw"},
    ]


def test_an_option_that_only_one_network_has_is_varied_with_it_alone():
    fields = {
        "model.name": {"choice": ["tsm", "tsn"]},
        "model.options.fold_div": {"choice": [4, 8], "when": {"model.name": "tsm"}},
    }
    points = grid_points(parse_space(space(space=fields)))
    assert [point.get("model.options.fold_div") for point in points] == [4, 8, None]
    del fields["model.options.fold_div"]["when"]
    with pytest.raises(UserError, match=r"fold_div holds 4, which does not fit: unknown option 'fold_div' of tsn"):
        parse_space(space(space=fields))


def test_a_grid_takes_listed_values_and_no_more_trials_than_combinations():
    grid = {"space": {"train.lr": {"choice": [0.1, 0.2, 0.3]}}, "sampler": "grid"}
    assert filled(replace(RECIPE, search=SearchSettings(**grid)))[0].search.trials == 3
    assert filled(replace(RECIPE, search=SearchSettings(**grid, trials=2)))[0].search.trials == 2
    with pytest.raises(UserError, match=r"search\.trials=4 is more than the 3 combinations"):
        filled(replace(RECIPE, search=SearchSettings(**grid, trials=4)))
    grid["space"] = {"train.lr": {"uniform": [0.1, 0.3]}}
    with pytest.raises(UserError, match="combines listed values"):
        filled(replace(RECIPE, search=SearchSettings(**grid)))


@pytest.mark.parametrize("name", sorted(file.stem for file in recipes.BUILT_IN.glob("*.yaml")))
@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_every_built_in_recipe_can_be_searched_as_it_is(name, sampler):
    recipe, _ = filled(recipes.load(name, {"search.sampler": sampler}))
    assert "train.lr" in recipe.search.space
    assert recipe.search.trials


def test_sampled_numpy_values_become_plain_ones():
    import numpy as np

    point = plain_values({"train.lr": np.float64(0.1), "train.optimizer": "sgd"})
    assert point == {"train.lr": 0.1, "train.optimizer": "sgd"}
    assert type(point["train.lr"]) is float


def test_the_command_line_sets_a_condition_and_a_distribution_apart():
    given = space(space=CONDITIONAL)
    words = [
        "search.space.train.nesterov.when={train.optimizer: sgd}",
        "search.space.train.momentum.uniform=[0.8, 0.9]",
    ]
    checked = parse_space(recipes.load(given, words))
    assert checked["train.nesterov"] == Dimension("choice", [True, False], {"train.optimizer": ["sgd"]})
    assert checked["train.momentum"] == Dimension("uniform", [0.8, 0.9], {"train.optimizer": ["sgd"]})
