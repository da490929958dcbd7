"""A workspace in an object store: no file of a run is on one machine alone, and none of it has to be kept there."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from learn_toys import IDENTITY, Toy
from paths import ROOT
from processes import started
from s3 import Proxy

from cluster.mlflow import serve
from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.evaluate import evaluate
from pipelines.predict import predict
from pipelines.recipe import Recipe
from pipelines.run import run
from pipelines.tracking import RunFolder, Tracker, tracking_uri, workspace
from pipelines.tracking.tracker import client
from pipelines.train import TrainResult, checkpoints, publish, train
from pipelines.tune import tune
from tasks.data import storage
from tasks.learn import TrainSettings
from tasks.learn.checkpoint import Position, State
from tasks.learn.optim import build_optimizer
from tasks.learn.precision import grad_scaler

WORK = "s3://marey/work"


@dataclass(frozen=True)
class Done:
    """A finished training whose rank 0 was killed once."""

    recipe: Recipe
    result: TrainResult
    log: str
    server: str


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An MLflow server of the usual kind: artifacts go through it."""
    place = tmp_path_factory.mktemp("server")
    Tracker.start(place, "first", params={}, tags={}).end("FINISHED")
    with serve(f"sqlite:///{place}/mlflow.db", 0, place) as started:
        yield started.url


@pytest.fixture(scope="module")
def done(ray, s3: Proxy, server, recipe, tmp_path_factory):
    """Train on the squares; rank 0 is killed after the second epoch."""
    recipe = recipes.replaced(recipe, {"name": "far", "train.epochs": 6, "compute.workers": 2})
    killed, over, lines = threading.Event(), threading.Event(), Lines()

    def kill_once() -> None:
        folder = RunFolder(f"{WORK}/runs/far")
        while not over.wait(0.1):
            if "checkpoint-00000006" in [name for name, _ in storage.entries("s3://marey/work/runs/far")]:
                os.kill(int(folder.read("rank-0.pid") or b""), signal.SIGKILL)
                killed.set()
                return

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_WORK", WORK)
        patch.setenv("MAREY_CACHE", str(tmp_path_factory.mktemp("driver")))
        patch.setenv("MLFLOW_TRACKING_URI", server)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "far")
        patch.setattr(publish, "store_networks", lambda *_: None)
        RunFolder.of("far").write("note", b"")
        log = logging.getLogger("pipelines.train.console")
        log.addHandler(lines)
        level, log.level = log.level, logging.INFO
        killer = threading.Thread(target=kill_once)
        killer.start()
        try:
            result = train(recipe)
        finally:
            over.set()
            killer.join()
            log.removeHandler(lines)
            log.level = level
    assert killed.is_set()
    return Done(recipe, result, lines.text, server)


@pytest.fixture
def elsewhere(done, monkeypatch, tmp_path):
    """Another machine, whose cache is empty."""
    monkeypatch.setenv("MAREY_WORK", WORK)
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", done.server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "far")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_killed_training_goes_on_from_its_checkpoint_in_the_store(done, elsewhere):
    store = client(tracking_uri(workspace()))
    found = store.get_run(done.result.run_id)
    assert found.info.status == "FINISHED"
    points = store.get_metric_history(done.result.run_id, "train/loss")
    assert [point.step for point in points] == list(range(1, 19))
    assert len(store.search_runs([found.info.experiment_id])) == 1
    state = RunFolder.of("far").read_state()
    assert state is not None
    assert state.result is not None
    kept = storage.join(WORK, "runs/far", state.result.checkpoint)
    assert {"checkpoint.json", "weights.safetensors"} <= {name for name, _ in storage.entries(kept)}


def test_the_console_follows_rank_0_through_the_store(done):
    assert "epoch 6/6" in done.log
    assert "clips/s" in done.log


def test_what_has_finished_is_known_on_another_machine(done, elsewhere):
    again = train(done.recipe)
    assert again.finished_before
    assert again.checkpoint.is_relative_to(elsewhere)
    for name in ("checkpoint.json", "weights.safetensors"):
        assert (again.checkpoint / name).read_bytes() == (done.result.checkpoint / name).read_bytes()
    with pytest.raises(UserError, match=rf"another recipe: train\.lr .*, or delete {WORK}/runs/far$"):
        train(recipes.replaced(done.recipe, {"train.lr": 0.1}))


def test_an_evaluation_is_stored_and_a_checkpoint_has_an_address(done, elsewhere, videos):
    result = evaluate("far", progress=False)
    stored = f"{WORK}/evaluations/far/{result.folder.name}"
    assert {name for name, _ in storage.entries(stored)} == {file.name for file in result.folder.iterdir()}
    assert json.loads(storage.read_bytes(f"{stored}/result.json"))["scores"] == f"{stored}/scores.npz"
    state = RunFolder.of("far").read_state()
    address = f"{WORK}/runs/far/{state.result.checkpoint}"
    video = str(videos / "test" / "red" / "red-test-0.mp4")
    (by_address,), (by_name,) = predict(address, [video]), predict("far", [video])
    assert by_address.top == by_name.top
    with pytest.raises(UserError, match=r"^there is no checkpoint\.json in s3://marey/work/runs/near"):
        predict(f"{WORK}/runs/near", [video])


def test_a_store_that_refuses_a_checkpoint_is_told_and_half_of_one_is_none(done, elsewhere, s3):
    folder = RunFolder.of("torn")
    s3.fail(r"PUT /marey/work/runs/torn/.*weights", status=403)
    with pytest.raises(UserError, match=r"weights\.safetensors cannot be written: Access Denied"):
        folder.store_checkpoint(done.result.checkpoint, "checkpoint-00000001")
    s3.heal()
    with pytest.raises(UserError, match=r"there is no checkpoint\.json in s3://marey/work/runs/torn"):
        folder.checkpoint("checkpoint-00000001")
    folder.store_checkpoint(done.result.checkpoint, "checkpoint-00000001")
    names = {file.name for file in done.result.checkpoint.iterdir()}
    assert {file.name for file in folder.checkpoint("checkpoint-00000001").iterdir()} == names


STORING = """
import sys
from pathlib import Path
from pipelines.tracking import RunFolder
for name in ("checkpoint-00000004", "checkpoint-00000008"):
    RunFolder("s3://marey/work/runs/cut").store_checkpoint(Path(sys.argv[1]), name)
"""


def test_a_process_that_is_killed_while_it_uploads_leaves_the_checkpoint_before(s3, monkeypatch, tmp_path):
    """The store has the weights of the second one by then, and holds its answer back."""
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    network = Toy()
    state = State(
        network, build_optimizer(network, TrainSettings()), grad_scaler(torch.device("cpu"), "off"), Position()
    )
    local = state.snapshot(IDENTITY, {}).write(tmp_path / "local")
    fault = s3.fail(r"PUT /marey/work/runs/cut/checkpoint-00000008/weights", delay_s=600)
    with started([sys.executable, "-c", STORING, local], cwd=ROOT) as process:
        while not fault.met:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
    s3.heal()
    assert checkpoints.newest(RunFolder("s3://marey/work/runs/cut"), pytest.fail) == "checkpoint-00000004"


@pytest.mark.usefixtures("done")
def test_it_is_refused_before_anything_starts(recipe, elsewhere, monkeypatch, s3):
    monkeypatch.setenv("MAREY_WORK", "s3://no-bucket/work")
    with pytest.raises(UserError, match=r"^s3://no-bucket/work/\S+ cannot be written: "):
        train(recipe)
    monkeypatch.setenv("MAREY_WORK", WORK)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for refused in (train, evaluate):
        with pytest.raises(UserError, match=rf"^the workspace {WORK} cannot hold MLflow's own database: start"):
            refused(recipe if refused is train else "far")
    assert not storage.exists(f"{WORK}/runs/squares")
    assert not list(Path.cwd().glob("s3*"))


@pytest.mark.campaign
def test_a_sweep_and_a_run_and_its_repetition(recipe, done, elsewhere, videos, monkeypatch):
    swept = recipes.replaced(
        recipe,
        {
            "name": "swept",
            "train.epochs": 2,
            "search.trials": 2,
            "search.space": {"train.lr": {"choice": [0.01, 0.05]}},
            "compute.cpus_per_worker": 1,
        },
    )
    found = tune(swept)
    assert found.trials == 2
    assert found.best.is_relative_to(elsewhere)
    assert storage.read_bytes(f"{WORK}/sweeps/swept/best.yaml") == found.best.read_bytes()
    grown = tune(recipes.replaced(swept, {"search.trials": 3}))
    assert grown.trials == 3
    whole = recipes.replaced(
        recipe, {"name": "whole", "data.source": str(videos), "data.dataset": "s3://marey/data", "train.epochs": 1}
    )
    first = run(whole, progress=False)
    monkeypatch.setenv("MAREY_CACHE", str(elsewhere.with_name("third")))
    again = run(whole, progress=False)
    assert again.trained.finished_before
    assert again.evaluation.metrics == first.evaluation.metrics
    assert np.array_equal(np.load(again.evaluation.scores)["labels"], np.load(first.evaluation.scores)["labels"])
    assert not list(Path.cwd().glob("s3*"))
