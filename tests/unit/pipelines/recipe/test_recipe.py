"""Recipes: strict reading, sentences, overrides, round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.common.errors import ModelError
from pipelines import recipe as recipes
from pipelines.errors import UserError

pytestmark = pytest.mark.quick

BASE = """
name: arms
data: {dataset: prepared/arms, source: videos}
model: {name: stm, options: {tiny: true}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arms.yaml"


def load(file: Path, text: str = "", *overrides: str):
    file.write_text(BASE + text)
    return recipes.load(file, overrides)


def test_reads_and_fills_in_defaults(file: Path) -> None:
    recipe = load(file, "train: {lr: 1e-3, milestones: [2, 4]}\n")
    assert recipe.train.lr == 0.001
    assert recipe.train.milestones == (2.0, 4.0)
    assert recipe.model.options == {"tiny": True}
    assert recipe.prepare.flow == "tvl1"


def test_a_number_without_a_point_is_a_number_in_free_form_fields_too(file: Path) -> None:
    recipe = load(file, "search: {space: {train.lr: {log_uniform: [1e-4, 1E-1]}}}\n")
    assert recipe.search.space["train.lr"]["log_uniform"] == [0.0001, 0.1]


def test_paths_are_of_the_current_folder(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(file).data.dataset == str(tmp_path / "prepared/arms")
    assert load(file).data.source == str(tmp_path / "videos")
    assert load(file, "", "data.dataset=s3://bucket/arms").data.dataset == "s3://bucket/arms"


def test_overrides_reach_every_field(file: Path) -> None:
    recipe = load(file, "", "train.lr=2e-2", "model.options.frames=8", "prepare.tvl1.warps=1", "train.clip_norm=null")
    assert recipe.train.lr == 0.02
    assert recipe.model.options == {"tiny": True, "frames": 8}
    assert recipe.prepare.tvl1.warps == 1
    assert recipe.train.clip_norm is None


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        ("trian: {}", [], "unknown field 'trian'; did you mean 'train'?"),
        ("train: {ler: 1}", [], "unknown field 'train.ler'; did you mean 'train.lr'?"),
        ("prepare: {tvl1: {tauu: 1}}", [], "unknown field 'prepare.tvl1.tauu'; did you mean 'prepare.tvl1.tau'?"),
        ("train: {lr: fast}", [], "train.lr should be a number such as 10, 0.1 or 1e-3, but is 'fast'"),
        ("train: {epochs: 1.5}", [], "train.epochs should be a whole number such as 10, but is 1.5"),
        ("train: {epochs: 0}", [], "train.epochs must be at least 1, not 0"),
        ("train: {lr: -1}", [], "train.lr must be above 0, not -1.0"),
        ("train: {milestones: 3}", [], "train.milestones should be a list, but is 3"),
        ("train: {betas: [0.9]}", [], "train.betas.1 is missing"),
        ("train: 3", [], "train should be a section of fields, not 3"),
        ("input: {sise: 3}", [], "unknown field 'input.sise'; did you mean 'input.size'?"),
        ("input: {size: big}", [], "input.size should be a whole number such as 10, but is 'big'"),
        ("input: {scales: [1, x]}", [], "input.scales.1 should be a number such as 10, 0.1 or 1e-3, but is 'x'"),
        ("input: {flip: 2}", [], "input.flip must be from 0 to 1, not 2.0"),
        ("input: 3", [], "input should be a section of fields, not 3"),
        ("", ["input.max_distort=-1"], "input.max_distort must be at least 0, not -1"),
        ("", ["input.clor=1"], "--set input.clor: unknown field 'input.clor'; did you mean 'input.color'?"),
        ("evaluate: {crops: 4}", [], "evaluate.crops should be 1, 3 or 10, but is 4"),
        ("prepare: {flow: tvl2}", [], "prepare.flow should be 'tvl1' or 'none', but is 'tvl2'"),
        ("prepare: {tvl1: {median: 4}}", [], "prepare.tvl1.median must be 1, 3 or 5, not 4"),
        ("train: {lr: 1, lr: 2}", [], "line 5: lr is given twice"),
        ("train: [", [], "is not YAML: line 6"),
        ("", ["train.ler=1"], "--set train.ler: unknown field 'train.ler'; did you mean 'train.lr'?"),
        ("", ["train.lr"], "--set train.lr: write it as field=value"),
        ("", ["train.lr=slow"], "train.lr should be a number such as 10, 0.1 or 1e-3, but is 'slow'"),
        ("", ["name.x=1"], "--set name.x: name is a value, not a section"),
        ("", ["name=a/b"], "name is 'a/b', but names a folder"),
        ("", ["data.split=a", "data.fold=b"], "split and fold exclude each other"),
    ],
)
def test_a_mistake_is_one_sentence(file: Path, text: str, overrides: list[str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        load(file, text + "\n", *overrides)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if not says.startswith("--set"):
        assert str(file) in str(caught.value)


def test_a_missing_field_is_named(file: Path) -> None:
    file.write_text("name: x\ndata: {dataset: y}\n")
    with pytest.raises(UserError, match="model is missing"):
        recipes.load(file)


def test_an_unknown_network_is_named_before_any_work(file: Path) -> None:
    with pytest.raises(ModelError, match="did you mean 'stm'"):
        load(file, "", "model.name=stmm")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recipe at"):
        recipes.load(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="no built-in recipe"):
        recipes.load("no_such_recipe")


def test_round_trip(file: Path, tmp_path: Path) -> None:
    recipe = load(file, "train: {lr: 1e-5, schedule: cosine}\nsearch: {space: {train.lr: {uniform: [0, 1]}}}\n")
    assert recipes.parse(recipes.to_dict(recipe)) == recipe
    copy = tmp_path / "copy.yaml"
    copy.write_text(recipes.dump(recipe))
    assert recipes.load(copy) == recipe
    assert recipes.digest(recipes.load(copy)) == recipes.digest(recipe)
    assert recipes.digest(recipes.replaced(recipe, {"train.seed": 1})) != recipes.digest(recipe)


def test_files_of_weights_are_absolute_and_runs_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = {"name": "a", "data": {"dataset": "d"}, "model": {"name": "stm"}}
    for given, expected in (
        ("net.pth", str(tmp_path / "net.pth")),
        ("https://host/net.pth", "https://host/net.pth"),
        ("earlier_run", "earlier_run"),
        (None, None),
    ):
        assert recipes.parse(base, {"model.weights": given}).model.weights == expected
