"""What can be refused without torch and Ray is refused before they are loaded, which takes most of a start."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import processes
import pytest
from refusals import refusal
from small_dataset import write_dataset

from pipelines import recipe as recipes
from pipelines.tracking.run_folder import RunFolder, SweepFolder
from pipelines.tracking.state import Result, State
from tasks.data import open_dataset

pytestmark = pytest.mark.quick

ROOT = Path(recipes.__file__).parents[2]
MAREY = """
import sys

class Refusing:
    def find_spec(self, name, *rest):
        if name in ("ray", "torch"):
            raise AssertionError(f"{name} is loaded")

sys.meta_path.insert(0, Refusing())
from pipelines import cli
sys.exit(cli.main())
"""
"""The command line where neither torch nor Ray can be imported."""
RECIPE = "name: early\ndata: {dataset: data}\nmodel: {name: tsn, options: {tiny: true}}\ntrain: {epochs: 3}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a recipe, and a workspace with a finished run and a sweep of its name; tests only read them."""
    folder = tmp_path_factory.mktemp("early")
    dataset = open_dataset(write_dataset(folder / "data", flow=False))
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "new.yaml").write_text(RECIPE.replace("early", "new"))
    recipe = recipes.load(folder / "recipe.yaml", {"data.dataset": str(folder / "data"), "search.trials": 5})
    state = State(
        "1", dataset.digest, recipes.to_dict(replace(recipe, prepare=dataset.settings, train=recipe.train.resolved()))
    )
    RunFolder(folder / "work" / "runs" / "early").write_state(state.with_result(Result("c", {}, "last")))
    SweepFolder(folder / "work" / "sweeps" / "early").write_state(state)
    return folder


def marey(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MAREY_WORK": str(folder / "work")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return processes.run([sys.executable, "-c", MAREY, *words], cwd=folder, env=environment)


SPACE = "search.space.train.lr.choice=[0.1]"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "none.yaml"], "no recipe at {folder}/none.yaml"),
        (["train", "new.yaml", "--set", "train.epochs=yes"], "train.epochs should be a whole number"),
        (["train", "new.yaml", "--set", "train.epoch=1"], "did you mean 'train.epochs'"),
        (["train", "new.yaml", "--set", "model.name=tsnn"], "did you mean 'tsn'"),
        (
            ["train", "new.yaml", "--set", "data.dataset=nowhere"],
            "{folder}/nowhere does not exist (relative paths of a recipe are read from the current folder, {folder})",
        ),
        (["train", "new.yaml", "--set", "model.weights=../w.pth"], "model.weights: there is no file {parent}/w.pth"),
        (["train", "new.yaml", "--set", "data.split=third"], "has no split 'third'"),
        (["train", "new.yaml", "--set", "model.stream=flow"], "holds no flow"),
        (
            ["train", "new.yaml", "--set", "input.size=31"],
            "input.size=31: a network takes clips of at least 32 x 32 pix",
        ),
        (
            ["train", "recipe.yaml", "--set", "train.epochs=5"],
            "train.epochs (3, now 5); give this one another name (`--set name=... --set model.weights=early` trains on "
            "from its weights), or delete",
        ),
        (
            ["train", "new.yaml", "--set", "train.amp=bf16"],
            "train.amp=bf16 needs GPUs and compute.gpus_per_worker is",
        ),
        (
            ["train", "new.yaml", "--workers", "9"],
            "compute.workers=9 is more than the 8 shares that a step",
        ),
        (
            ["train", "new.yaml", "--set", "train.multigrid=both", "--set", "input.size=64"],
            "train.multigrid=both makes clips of 64 x 64 pixels as small as 23 x 23, and a network takes at least 32 x "
            "32: set input.size=91 or more",
        ),
        (
            ["tune", "new.yaml", "--set", "search.space.train.lr.uniform=[0.1, 0.2]", "--set", "search.sampler=grid"],
            "search.space.train.lr is uniform, and search.sampler=grid combines listed values: give it a choice",
        ),
        (["tune", "new.yaml", "--set", SPACE, "--set", "data.dataset=nowhere"], "{folder}/nowhere does not exist"),
        (["tune", "new.yaml", "--set", SPACE, "--set", "data.split=second"], "has no val part"),
        (["tune", "recipe.yaml", "--set", SPACE], "another recipe: search.space"),
        (["tune", "new.yaml", "--set", SPACE, "--set", f"name={'n' * 115}"], "name must have at most 120 bytes"),
        (["run", "new.yaml", "--set", "data.source=nowhere"], "data.source: {folder}/nowhere does not exist"),
        (["run", "new.yaml", "--set", "data.dataset=nowhere"], "data.dataset: {folder}/nowhere does not exist"),
        (["run", "recipe.yaml", "--set", "data.source=.", "--set", "train.epochs=5"], "train.epochs (3, now 5)"),
        (["run", "new.yaml", "new.yaml"], "two recipes are named new"),
        (["run", "new.yaml", "recipe.yaml", "--weights", "1"], "1 weight for 2 runs"),
        (
            ["run", "new.yaml", "recipe.yaml", "--set", "evaluate.part=oops"],
            "evaluate.part should be 'val' or 'test', but is 'oops'",
        ),
        (["evaluate", "early", "../nowhere"], "neither a prepared dataset nor a checkpoint at {parent}/nowhere"),
        (["evaluate", ""], "runs is empty"),
        (["predict", "nobody", "recipe.yaml"], "there is no run 'nobody'"),
        (["verify", "nowhere"], "{folder}/nowhere is not a prepared dataset"),
        (["preview", "nowhere", "page.html"], "{folder}/nowhere is not a prepared dataset"),
        (["prepare", "nowhere", "out"], "{folder}/nowhere does not exist"),
        (["demo", "--set", "train.epochs=yes"], "train.epochs should be a whole number"),
        (["evaluate", "nobody"], "there is no run 'nobody'"),
    ],
)
def test_refused_before_torch_and_ray_are_loaded(folder: Path, words: list[str], says: str) -> None:
    done = marey(folder, *words)
    assert done.returncode == 2, done.stderr
    told = refusal(done.stderr)
    assert told.startswith("marey: ")
    assert told.count("\n") == 1
    assert says.format(folder=folder, parent=folder.parent) in told


@pytest.mark.parametrize("words", [["models"], ["train", "demo_tsn"], ["ui"], ["cluster", "status"]])
def test_a_current_folder_that_is_gone_is_one_line(tmp_path: Path, words: list[str]) -> None:
    """As torch is not: where it loads MKL, it ends the process."""
    code = "import os, sys; os.rmdir(os.getcwd()); from pipelines import cli; sys.exit(cli.main())"
    here = tmp_path / "gone"
    here.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MAREY_WORK": str(tmp_path / "work")}
    done = processes.run([sys.executable, "-c", code, *words], cwd=here, env=environment)
    assert done.returncode == 2
    assert done.stderr == "marey: the current folder has been removed: change to another one\n"


def test_a_finished_run_is_returned_without_them(folder: Path) -> None:
    done = marey(folder, "train", "recipe.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert '"run": "early"' in done.stdout


def test_a_sweep_cannot_lose_trials(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAREY_WORK", str(folder / "work"))
    state = SweepFolder.of("early").read_state()
    assert state is not None
    space = {"train.lr": {"choice": [0.1]}}
    recipe = recipes.parse(state.recipe, {"search.space": space, "name": "swept"})
    SweepFolder.of("swept").write_state(State("1", state.dataset_digest, recipes.to_dict(recipe)))
    (folder / "swept.yaml").write_text(recipes.dump(recipe))
    done = marey(folder, "tune", "swept.yaml", "--set", "search.trials=4")
    assert "search.trials=5, which can be raised and not lowered to 4" in done.stderr
