import os
import re
import select
import signal
import subprocess
import sys

import processes
import pytest
import ray
from ray import tune as ray_tune
from ray.util import placement_group, placement_group_table

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.tracking import RunFolder, tracking_uri
from pipelines.tracking.tracker import client
from pipelines.train import train
from pipelines.tune import tune
from pipelines.tune.cleanup import PlacementGroupCleaner
from pipelines.tune.workflow import concurrent_trials


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, ray):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "work"


@pytest.fixture
def sweep(recipe):
    space = {"train.lr": {"log_uniform": [1e-6, 0.1]}, "train.optimizer": {"choice": ["sgd", "adamw"]}}
    values = {"name": "sweep", "train.epochs": 4, "search.trials": 3, "search.space": space, "search.reduction": 2}
    return recipes.replaced(recipe, values)


def children(work, parent):
    return client(tracking_uri(work)).search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent}'")


def test_three_trials_on_two_cpus_make_a_sweep_with_a_best_recipe(sweep, work):
    assert concurrent_trials(sweep, {"CPU": 2}) == 2
    result = tune(sweep)
    groups = placement_group_table().values()
    assert {group["state"] for group in groups if {"CPU": 1.0} in group["bundles"].values()} == {"REMOVED"}
    runs = children(work, result.run_id)
    assert result.trials == len(runs) == 3
    assert result.failed == 0
    assert {run.info.status for run in runs} == {"FINISHED"}
    # A trial that is stopped may have reached its end by then.
    assert all(run.data.metrics["epoch"] == 4 or run.data.tags["pruned"] == "true" for run in runs)
    assert {float(run.data.params["train.lr"]) for run in runs} != {sweep.train.lr}
    best = recipes.load(result.best)
    (winner,) = [run for run in runs if run.info.run_name == result.best_run]
    assert str(best.train.lr) == winner.data.params["train.lr"]
    assert result.score == max(
        point.value
        for run in runs
        for point in client(tracking_uri(work)).get_metric_history(run.info.run_id, "val/top1_percent")
    )
    store = client(tracking_uri(work))
    parent = store.get_run(result.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best/val/top1_percent"] == result.score
    assert "best.yaml" in {file.path for file in store.list_artifacts(result.run_id)}
    assert not store.search_registered_models()  # trials are not registered
    again = tune(sweep)  # finished: nothing is trained
    assert again.values == result.values
    assert len(children(work, result.run_id)) == 3
    before = {run.info.run_id: run.info.end_time for run in runs}
    more = tune(recipes.replaced(sweep, {"search.trials": 5}))
    after = {run.info.run_id: run.info.end_time for run in children(work, result.run_id)}
    assert (more.run_id, more.trials, more.failed, len(after)) == (result.run_id, 5, 0, 5)
    assert before.keys() < after.keys()
    assert more.score >= result.score
    assert store.get_run(result.run_id).data.metrics["trials"] == 5
    with pytest.raises(UserError, match=r"search\.trials=5, which can be raised and not lowered to 3"):
        tune(sweep)


def test_a_stopped_trial_gives_back_also_what_its_controller_asked_for_last(work):
    """A controller that sees its workers die before it dies itself asks for new ones, of which no file tells."""

    @ray.remote(num_cpus=0)
    class Controller:
        def ask(self):
            groups = [placement_group([{"CPU": 1}]) for _ in range(2)]
            ray.get([group.ready() for group in groups], timeout=60)
            return [group.id.hex() for group in groups], ray.get_runtime_context().get_actor_id()

    controller = Controller.remote()
    groups, actor_id = ray.get(controller.ask.remote(), timeout=60)
    folder = RunFolder(work / "runs" / "trial")
    folder.write_controller(actor_id)
    cleaner = PlacementGroupCleaner()
    cleaner.watch(folder)
    cleaner.remove_orphans()
    assert {placement_group_table()[group]["state"] for group in groups} == {"CREATED"}  # it lives
    ray.kill(controller)
    cleaner.remove_remaining()
    assert {placement_group_table()[group]["state"] for group in groups} == {"REMOVED"}


@pytest.mark.usefixtures("unregistered")
def test_a_trial_that_has_finished_without_the_knowledge_of_tune_tells_it_all(sweep, work, tmp_path):
    """As after a kill of the sweep: Tune starts the trial again, which has nothing left to train."""
    recipe = recipes.replaced(sweep, {"train.epochs": 2})
    done = train(recipes.replaced(recipe, {"name": "sweep.done"}))
    environment = {"MAREY_WORK": str(work), "MLFLOW_TRACKING_URI": tracking_uri(work)}

    def again(point):
        from pipelines.tune import trial

        trial.run_trial(recipe, {"trial": "done", "values": point}, done.run_id, environment)

    place = ray_tune.RunConfig(name="again", storage_path=str(tmp_path), verbose=0)
    (result,) = ray_tune.Tuner(ray_tune.with_resources(again, {"cpu": 1}), run_config=place).fit()
    points = client(tracking_uri(work)).get_metric_history(done.run_id, "val/top1_percent")
    told = result.metrics_dataframe
    assert list(told["val/top1_percent"]) == [point.value for point in points]
    assert list(told["step"]) == [point.step for point in points]
    assert list(told["epoch"]) == [1, 2]


def test_an_impossible_trial_is_refused(sweep):
    with pytest.raises(UserError, match="takes 3 CPUs"):
        tune(recipes.replaced(sweep, {"compute.workers": 3, "train.micro_batches": 3}))


def test_a_changed_sweep_of_the_same_name_is_refused(sweep, work):
    from pipelines.tracking.run_folder import SweepFolder
    from pipelines.tracking.state import State
    from tasks.data import open_dataset

    digest = open_dataset(sweep.data.dataset).digest
    SweepFolder(work / "sweeps" / "sweep").write_state(State("x", digest, recipes.to_dict(sweep)))
    with pytest.raises(UserError, match=r"search\.seed \(0, now 5\)"):
        tune(recipes.replaced(sweep, {"search.seed": 5}))


@pytest.mark.campaign
def test_a_killed_sweep_goes_on(sweep, work, joining):
    """The driver dies while trials run; the same command finishes the sweep without a second parent or extra trials."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "sweep.yaml"
    # a trial takes the whole cluster, so that one which is stopped must give it back
    cut = {"train.epochs": 6, "compute.workers": 2, "search.trials": 2}
    path.write_text(recipes.dump(recipes.replaced(sweep, cut)))
    code = f"from pipelines.recipe import load; from pipelines.tune import tune; tune(load({str(path)!r}))"
    command = [sys.executable, "-c", code]
    with processes.started(command, env=joining) as driver:
        while not list(work.glob("runs/*/progress.jsonl")):
            assert driver.poll() is None
            select.select([], [], [], 0.05)
        driver.send_signal(signal.SIGKILL)
    again = processes.run(command, env=joining)
    assert again.returncode == 0, again.stderr
    parents = [run for run in client(tracking_uri(work)).search_runs(["1"]) if "sweep" in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    runs = children(work, parents[0].info.run_id)
    assert len(runs) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        steps = [p.step for p in client(tracking_uri(work)).get_metric_history(run.info.run_id, "train/loss")]
        assert steps == sorted(set(steps))


@pytest.mark.campaign
@pytest.mark.usefixtures("unregistered")
def test_a_trial_whose_process_is_killed_is_trained_again_by_the_same_command(sweep, work, joining):
    work.mkdir(parents=True)
    path = work / "lost.yaml"
    cut = {"name": "lost", "train.epochs": 6, "search.trials": 1, "search.scheduler": "none"}
    path.write_text(recipes.dump(recipes.replaced(sweep, cut)))
    command = [sys.executable, "-m", "pipelines", "tune", str(path)]
    with processes.started(command, env=joining, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        while not (found := list(work.glob("runs/*/progress.jsonl"))):
            assert driver.poll() is None
            select.select([], [], [], 0.05)
        os.kill(int((found[0].parent / "rank-0.pid").read_text()), signal.SIGKILL)
        shown, told = driver.communicate()
    assert driver.returncode == 0, told
    lines = [line[9:] for line in told.splitlines() if "waiting for" not in line]
    assert re.match(r"trial lost\.\w{8} goes on later: it was lost \(", lines[0]), told
    assert re.match(r"trial 1/1 lost\.\w{8}  .*  6 epochs$", lines[1]), told
    assert len(lines) == 2, told
    assert "best of 1 trial (0 failed)" in shown
    (parent,) = [run for run in client(tracking_uri(work)).search_runs(["1"]) if run.data.tags.get("sweep") == "parent"]
    assert [run.info.status for run in children(work, parent.info.run_id)] == ["FINISHED"]
