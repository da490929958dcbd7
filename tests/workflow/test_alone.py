"""A training of one worker without a cluster: in the process that asks for it, by no Ray."""

import json
import os
import sys

import processes
import pytest
import torch
from long_training import check_tracked, chosen, weights
from paths import ROOT

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.tracking import tracking_uri
from pipelines.tracking.store import client
from pipelines.train import train
from tasks.clips import ClipLoader


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "work"


@pytest.fixture
def short(recipe, unregistered):
    return recipes.replaced(recipe, {"train.epochs": 2, "train.log_every": 1})


def test_no_ray_is_started_and_the_process_is_left_as_it_was(short, work, tmp_path):
    file = tmp_path / "short.yaml"
    file.write_text(recipes.dump(short))
    code = f"""
import json, os, sys, threading
import torch
torch.set_num_threads(2)
environment = dict(os.environ)
from pipelines.train import train
result = train({str(file)!r}, progress=False)
ray = "ray" in sys.modules and sys.modules["ray"].is_initialized()
added = sorted(name for name in os.environ if name not in environment and not name.startswith("MLFLOW_"))
left = [thread.name for thread in threading.enumerate() if "marey" in thread.name]
print(json.dumps([ray, torch.get_num_threads(), added, left]))
"""
    done = processes.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    ray, threads, added, left = json.loads(done.stdout.splitlines()[-1])
    assert (ray, threads, left) == (False, 2, [])
    assert [name for name in added if name.startswith(("RAY_", "MAREY_"))] == []
    check_tracked(tracking_uri(work), chosen(work, "squares"), 6, "squares")


def test_a_recipe_names_its_experiment(short, work, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the environment")
    for name, named, expected in (("named", "gestures", "gestures"), ("other", None, "of the environment")):
        run_id = train(recipes.replaced(short, {"name": name, "experiment": named})).run_id
        store = client(tracking_uri(work))
        assert store.get_experiment(store.get_run(run_id).info.experiment_id).name == expected


def test_it_goes_on_after_an_error_that_may_pass_and_not_after_too_many(short, work, monkeypatch, caplog):
    """As on Ray's workers: from the last checkpoint, and `max_failures` times without one in between."""
    undisturbed = recipes.replaced(short, {"name": "undisturbed"})
    train(undisturbed)
    batches, failures = ClipLoader.batches, iter([1, 1])

    def failing(self, epoch, *args):
        if epoch == 1 and next(failures, None):
            raise RuntimeError("a cable was loose")
        return batches(self, epoch, *args)

    monkeypatch.setattr(ClipLoader, "batches", failing)
    train(recipes.replaced(short, {"compute.max_failures": 2}))
    assert caplog.text.count("goes on from its last checkpoint after RuntimeError: a cable was loose") == 2
    assert weights(work, "squares") == weights(work, "undisturbed")
    monkeypatch.setattr(ClipLoader, "batches", lambda *_: (_ for _ in ()).throw(RuntimeError("it is cut")))
    with pytest.raises(RuntimeError, match="it is cut"):
        train(recipes.replaced(short, {"name": "cut", "compute.max_failures": 1}))


def test_more_than_this_machine_has_is_refused(short, work):
    with pytest.raises(UserError, match=r"takes 4096 CPUs \(1 worker\) and this machine has \d+"):
        train(recipes.replaced(short, {"compute.cpus_per_worker": 4096}))
    assert not (work / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_gpus_that_are_not_there_are_refused(short):
    with pytest.raises(UserError, match=r"takes 1 GPUs \(1 worker\) and this machine has 0"):
        train(recipes.replaced(short, {"compute.gpus_per_worker": 1}))
