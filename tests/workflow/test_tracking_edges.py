"""Trainings whose driver dies at an edge, that meet another of their name, or whose MLflow server goes away."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest
from changed import change_tables
from mlflow_front import front
from processes import started

from cluster.errors import ClusterError
from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.evaluate import evaluate
from pipelines.run.repeat import recipe_of
from pipelines.tracking import claim, resolve
from pipelines.tracking.run_folder import SweepFolder
from pipelines.tracking.store import client
from pipelines.train import train
from pipelines.tune import tune
from tasks.data.tables import read_table


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with front(tmp_path_factory.mktemp("server")) as served:
        client(served.url).search_experiments()  # imports what it needs, in seconds on a busy machine
        yield served


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, ray, server):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.away = False
    return tmp_path / "work"


@pytest.fixture
def follow(work):
    """Call a function once when a run has reported so many epochs; ends with the test."""
    over = threading.Event()
    threads = []

    def call_at(name, epochs, action):
        progress = work / "runs" / name / "progress.jsonl"

        def wait():
            while not over.wait(0.02):
                if progress.exists() and progress.read_text().count('"kind": "epoch"') >= epochs:
                    action()
                    return

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield call_at
    over.set()
    for thread in threads:
        thread.join()


def named(recipe, name, **values):
    return recipes.replaced(recipe, {"name": name, **{key.replace("__", "."): value for key, value in values.items()}})


def runs_of(name, server):
    store = client(server.url)
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    return [run for run in store.search_runs(experiments) if run.info.run_name == name]


def steps(run, server, key="train/loss"):
    return [point.step for point in client(server.url).get_metric_history(run.info.run_id, key)]


@pytest.mark.campaign
def test_a_driver_killed_at_the_edges_leaves_one_run_one_model_and_one_version(recipe, work, server, joining, tmp_path):
    """Killed when MLflow had made the run, then when it had registered the network, before either was noted."""
    recipe = named(recipe, "edges", train__epochs=2)
    file = tmp_path / "edges.yaml"
    file.write_text(recipes.dump(recipe))
    command = [sys.executable, "-m", "pipelines", "train", str(file)]
    for edge in ("POST .*/runs/create", "POST .*/model-versions/create"):
        with started(command, env=os.environ | joining, stderr=subprocess.PIPE, text=True) as driver:
            server.after(edge, lambda driver=driver: os.kill(driver.pid, signal.SIGKILL))
            errors = driver.communicate()[1]
        assert driver.returncode == -signal.SIGKILL, errors
    result = train(recipe)
    (run,) = runs_of("edges", server)
    store = client(server.url)
    assert run.info.status == "FINISHED"
    assert run.info.run_id == result.run_id == resolve("edges").run_id
    assert steps(run, server) == list(range(1, 7))
    assert "marey train" in run.data.tags["command"]
    assert [str(version.version) for version in store.search_model_versions("name = 'edges'")] == ["1"]
    models = store.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    kept = [path.name for path in (work / "runs" / "edges").glob("checkpoint-*")]
    assert sorted(model.name for model in models) == sorted({"network", *kept} - {result.checkpoint.name})
    assert len(run.outputs.model_outputs) == len(models)
    assert train(recipe).finished_before


def test_models_have_metrics_of_their_dataset(recipe, work, server):
    """Those of the validation during training, and those of an evaluation later."""
    recipe = named(recipe, "tied", train__epochs=2)
    result = train(recipe)
    evaluate("tied", progress=False)
    (beside,) = (work / "evaluations" / "tied").glob(".*")
    with claim.hold(str(beside)), pytest.raises(UserError, match="is being written by another marey process"):
        evaluate("tied", progress=False)
    assert {path.name for path in next((work / "evaluations" / "tied").glob("[!.]*")).glob(".*")} == set()
    (run,) = runs_of("tied", server)
    store = client(server.url)
    models = store.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    network = next(model for model in models if model.name == "network")
    tied = {metric.key: metric for metric in network.metrics}
    assert tied["val/top1_percent"].value == result.metrics["val/top1_percent"]
    assert tied["val/top1_percent"].step == result.metrics["step"]
    assert any(key.startswith("test/") and key.endswith("top1_percent") for key in tied)
    for metric in tied.values():
        assert (metric.dataset_name, metric.dataset_digest) == ("squares", run.data.tags["dataset.digest"][:32])
    assert network.params["model.name"] == "tsn"
    for model in models:
        if model.name != "network":
            assert {metric.step for metric in model.metrics} == {int(model.name.rpartition("-")[2])}
            names = {file.path for file in store.list_logged_model_artifacts(model.model_id)}
            assert "weights.safetensors" in names
    assert steps(run, server, "val/top1_percent") == [3, 6]  # tying them to a model does not double them
    assert resolve("models:/tied@champion").run_id == resolve("models:/tied@candidate").run_id == run.info.run_id


@pytest.mark.usefixtures("unregistered")
def test_a_server_that_goes_away_stops_no_training_and_a_second_one_is_refused(recipe, server, follow):
    recipe = named(recipe, "away", train__epochs=12)
    refused = threading.Event()

    def leave():
        server.away = True
        with pytest.raises(UserError, match="runs/away is being written by another marey process"):
            train(recipe)
        refused.set()

    def come_back():
        server.away = False

    follow("away", 2, leave)
    follow("away", 10, come_back)
    result = train(recipe)
    assert refused.is_set()
    (run,) = runs_of("away", server)
    assert run.info.run_id == result.run_id
    assert run.info.status == "FINISHED"
    assert steps(run, server) == list(range(1, 37))
    assert steps(run, server, "val/top1_percent") == list(range(3, 37, 3))


@pytest.mark.campaign
def test_a_training_that_ends_without_its_server_says_how_the_rest_is_sent(recipe, work, server, follow, monkeypatch):
    recipe = named(recipe, "late", train__epochs=3)

    def leave():
        server.away = True

    follow("late", 2, leave)
    with pytest.raises(ClusterError, match=r"run late is trained, .* points of its metrics and its result wait .*then"):
        train(recipe)
    state = json.loads((work / "runs" / "late" / "run.json").read_text())
    server.away = False
    monkeypatch.setattr("pipelines.train.workflow._fit", None)  # nothing is trained again
    result = train(recipe)
    (run,) = runs_of("late", server)
    assert run.info.status == "FINISHED"
    assert "error" not in run.data.tags
    assert steps(run, server) == list(range(1, 10))
    assert result.checkpoint.name == state["result"]["checkpoint"]
    assert resolve("models:/late@candidate").run_id == run.info.run_id
    assert train(recipe).finished_before


def test_a_second_sweep_of_one_name_is_refused(recipe):
    sweep = named(recipe, "swept", search__space={"train.lr": {"choice": [0.1]}})
    refused = pytest.raises(UserError, match="sweeps/swept is being written by another marey process")
    with claim.hold(SweepFolder.of("swept").address), refused:
        tune(sweep)


@pytest.mark.usefixtures("unregistered")
def test_a_run_is_repeated_from_what_mlflow_knows_of_it(recipe, server, dataset, tmp_path, monkeypatch):
    """In another workspace, with the same weights; not from a dataset that has changed."""
    shutil.copytree(dataset, tmp_path / "squares")
    recipe = named(recipe, "first", data__dataset=str(tmp_path / "squares"), train__epochs=2)
    weights = train(recipe).checkpoint / "weights.safetensors"
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "other"))
    again = recipe_of("first")
    assert recipes.replaced(again, {"name": "first", "prepare": asdict(recipe.prepare)}) == recipe
    assert (train(again).checkpoint / "weights.safetensors").read_bytes() == weights.read_bytes()
    assert recipe_of("first", ["name=second", "train.lr=0.5"]).train.lr == 0.5
    splits = read_table(str(tmp_path / "squares"), "splits")
    moved = [{**row, "part": "train" if row["part"] == "val" else row["part"]} for row in splits.to_pylist()]
    change_tables(tmp_path / "squares", splits=splits.from_pylist(moved, schema=splits.schema))
    with pytest.raises(UserError, match=r"squares holds other videos than when run first was trained on it"):
        recipe_of("first")
    with pytest.raises(UserError, match=r"there is no run 'fist'.*did you mean 'first"):
        recipe_of("fist")
