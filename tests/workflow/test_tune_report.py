import re
import sys
import time

import processes
import pytest
from ray import tune as ray_tune

from cluster.jobs import JOB, Job
from pipelines import recipe as recipes
from pipelines.commands.jobs import progress_of
from pipelines.tracking import tracking_uri
from pipelines.tracking.tracker import client
from pipelines.train import train
from pipelines.tune.ledger import Entry
from pipelines.tune.schedulers import make_scheduler

SPACE = {
    "train.lr": {"choice": [1e30, 0.05], "when": {"train.optimizer": "sgd"}},
    "train.optimizer": {"choice": ["sgd", "adamw"]},
}
LINE = re.compile(r"\d\d:\d\d:\d\d (.*)")


@pytest.fixture
def work(tmp_path, monkeypatch, ray):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "work"


def test_a_sweep_of_failed_trials_ends_in_one_line(recipe, work, tmp_path, joining):
    path, space = tmp_path / "lost.yaml", {"train.lr": {"choice": [1e30]}}
    values = {"name": "lost", "train.optimizer": "sgd", "search.space": space, "search.trials": 1}
    path.write_text(recipes.dump(recipes.replaced(recipe, values)))
    done = processes.run([sys.executable, "-m", "pipelines", "tune", str(path)], env=joining)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    *told, last = done.stderr.splitlines()
    log = re.escape(str(work / "sweeps" / "lost" / "ray-tune.log"))
    assert re.fullmatch(
        rf"marey: every trial of sweep lost failed; the first error: .* finite .* \(Ray Tune's log: {log}\)", last
    )
    assert all(LINE.fullmatch(line) for line in told), done.stderr
    assert "ray-tune.log" not in "".join(told)


def test_a_sweep_says_how_each_trial_ended(recipe, work, tmp_path, joining, unregistered):
    """A grid with a condition, whose first trial fails, resumed for more; the best recipe is trained as it is."""
    values = {"name": "grid", "train.epochs": 1, "search.space": SPACE, "search.sampler": "grid"}
    path, began = tmp_path / "grid.yaml", time.time()
    path.write_text(recipes.dump(recipes.replaced(recipe, values)))

    def marey(*words):
        command = [sys.executable, "-m", "pipelines", "tune", str(path), *words]
        done = processes.run(command, env=joining | {JOB: "tune-1"})
        assert done.returncode == 0, done.stderr
        told = [LINE.fullmatch(line) for line in done.stderr.splitlines()]
        assert all(told), done.stderr  # nothing of Ray or Optuna
        lines = [line[1] for line in told if line]
        return [line for line in lines if not line.startswith("waiting for")], done.stdout.splitlines()

    lines, shown = marey("--set", "search.trials=2", "--set", "search.concurrent=1")
    assert len(lines) == 2, lines
    failed = r"trial 1/2 grid\.\w{8}  optimizer=sgd lr=1e\+30  failed: the loss or its gradient is no longer finite .*"
    assert re.fullmatch(failed, lines[0])
    assert re.fullmatch(
        r"trial 2/2 grid\.\w{8}  optimizer=sgd lr=0\.05  val/top1_percent \S+ \(best \S+\)  1 epoch", lines[1]
    )
    assert re.fullmatch(r"trial +optimizer +lr +val/top1_percent +epochs +status", shown[0])
    assert re.fullmatch(r"grid\.\w{8} +sgd +0\.05 +\S+ +1 +finished", shown[1])
    assert re.fullmatch(r"grid\.\w{8} +sgd +1e\+30 +- +0 +failed", shown[2])

    log = work / "sweeps" / "grid" / "ray-tune.log"
    assert f"what Ray Tune says of failed trials: {log}" in shown
    assert "INFO optuna.storages._in_memory: A new study created in memory" in log.read_text()

    lines, shown = marey("--set", "search.concurrent=1", "--set", "search.trials=3")
    assert lines[0] == "resuming sweep grid"
    assert lines[1].startswith("2 of 3 trials ended before, best val/top1_percent ")
    assert re.match(r"trial 3/3 grid\.\w{8}  optimizer=adamw  val/top1_percent", lines[2])
    assert len(lines) == 3, lines  # what diverged is not trained again
    assert progress_of(Job("tune-1", "tune grid", "RUNNING", began, 3600.0, None, "", "", "grid", str(work))) == (
        "3 of 3 trials"
    )
    assert log.read_text().count("A new study created in memory") == 2  # that of the second start is added
    assert sorted(line.split()[-1] for line in shown[1:4]) == ["failed", "finished", "finished"]

    store = client(tracking_uri(work))
    (parent,) = [run for run in store.search_runs(["1"]) if run.data.tags.get("sweep") == "parent"]
    runs = store.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {run.data.tags["trial"] for run in runs} == {
        "optimizer=sgd lr=1e+30",
        "optimizer=sgd lr=0.05",
        "optimizer=adamw",
    }
    assert all(run.data.tags["mlflow.note.content"].startswith(run.data.tags["trial"]) for run in runs)
    files = {file.path for file in store.list_artifacts(parent.info.run_id)}
    figures = {f"{name}.{kind}" for name in ("best_so_far", "parallel_coordinates") for kind in ("png", "html")}
    assert files == {"best.yaml", "trials.csv"} | figures  # two scores are too few for importances
    assert re.search(
        r"\n```\ntrial +optimizer +lr +val/top1_percent +epochs +status\n", parent.data.tags["mlflow.note.content"]
    )
    curve = store.get_metric_history(parent.info.run_id, "best/val/top1_percent")
    assert sorted(point.step for point in curve) == [2, 3]

    best = train(str(work / "sweeps" / "grid" / "best.yaml"))
    assert store.get_run(best.run_id).info.run_name == "grid-best"


def epochs_of(levels, earlier, recipe, folder):
    """Return how many epochs trials of these levels have had under the median rule, one after the other."""

    def trial(point):
        for epoch in (1, 2, 3, 4):
            ray_tune.report({"val/top1_percent": point["level"] + (epoch == 4 and -90), "epoch": epoch})

    swept = recipes.replaced(recipe, {"train.epochs": 4, "search.scheduler": "median", "search.grace_epochs": 2})
    scheduler = make_scheduler(swept, earlier)
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trial, {"cpu": 1}),
        param_space={"level": ray_tune.grid_search(levels)},
        tune_config=ray_tune.TuneConfig(
            metric="val/top1_percent", mode="max", scheduler=scheduler, max_concurrent_trials=1
        ),
        run_config=ray_tune.RunConfig(name="median", storage_path=str(folder), verbose=0),
    )
    return {result.config["level"]: result.metrics["epoch"] for result in tuner.fit()}


def test_the_median_rule_stops_a_bad_trial_and_none_at_its_last_epoch(recipe, ray, tmp_path):
    assert epochs_of([90, 80, 85, 10, 99], [], recipe, tmp_path) == {90: 4, 80: 4, 85: 4, 10: 2, 99: 4}


def test_the_median_rule_knows_the_trials_of_earlier_starts(recipe, ray, tmp_path):
    earlier = [Entry(str(level), {}, None, {1: level, 2: level, 3: level, 4: level - 90}) for level in (90, 80, 85)]
    assert epochs_of([10, 99], earlier, recipe, tmp_path) == {10: 2, 99: 4}
