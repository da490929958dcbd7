import json
import os
import re
import signal
import threading
from dataclasses import replace

import pytest
from changed import change_tables

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.tracking import resolve, tracking_uri
from pipelines.tracking.tracker import client
from pipelines.train import train
from tasks.data.tables import read_table


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, ray):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "work"


ADDED = {
    "train__label_smoothing": 0.1,
    "train__mixup": 0.8,
    "train__cutmix": 1.0,
    "train__ema_decay": 0.9,
    "train__class_weights": "balanced",
    "train__lr_factors": {"layer1.*": 0.5},
    "train__recompute": True,
}


def changed(recipe, **values):
    return recipes.replaced(recipe, {key.replace("__", "."): value for key, value in values.items()})


def steps(work, run_id, key="train/loss"):
    return [point.step for point in client(tracking_uri(work)).get_metric_history(run_id, key)]


def test_a_training_is_one_complete_mlflow_run(trained, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(trained.work))
    store = client(tracking_uri(trained.work))
    run = store.get_run(trained.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "squares"
    assert run.data.params["train.lr"] == "0.01"
    assert run.data.params["prepare.short_side"] == "64"  # what the dataset was prepared with
    assert len(run.data.tags["dataset.digest"]) == 64
    assert run.inputs.dataset_inputs[0].dataset.digest == run.data.tags["dataset.digest"][:32]
    assert len(run.data.tags["git.commit"]) == 40
    for key in (
        "epoch",
        "train/loss",
        "train/lr",
        "train/top1_percent",
        "workers/clips_per_s",
        "workers/data_wait_percent",
        "workers/epoch/backward_percent",
        "workers/epoch/decode_percent",
        "val/top1_percent",
    ):
        assert key in run.data.metrics
    every = [point.step for point in store.get_metric_history(trained.run_id, "train/loss")]
    assert every == list(range(1, 73))  # 24 clips in batches of 4, 12 epochs, log_every 1
    names = {file.path for file in store.list_artifacts(trained.run_id)}
    assert {"recipe.yaml", "curves.png", "checkpoint", "trace.json.gz"} <= names
    version = store.get_model_version_by_alias("squares", "candidate")
    assert version.run_id == trained.run_id
    assert resolve("models:/squares@champion").checkpoint == resolve("squares").checkpoint


def test_the_network_learns_and_the_best_checkpoint_by_val_is_kept(trained, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(trained.work))
    result = train(trained.recipe)  # finished: returns what it found
    history = client(tracking_uri(trained.work)).get_metric_history(trained.run_id, "val/top1_percent")
    best = max(point.value for point in history)
    assert result.finished_before
    assert result.metrics["val/top1_percent"] == best > 60  # chance is 25
    assert "best of the val part" in result.chosen
    assert (result.checkpoint / "weights.safetensors").exists()


def test_a_finished_run_is_not_trained_again_and_another_recipe_is_refused(trained, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(trained.work))
    assert train(changed(trained.recipe, compute__max_failures=1)).finished_before
    with pytest.raises(UserError, match=r"train\.micro_batches \(1, now 2\)"):
        train(changed(trained.recipe, train__micro_batches=2))
    with pytest.raises(UserError, match=r"another recipe: train\.lr \(0\.01, now 0\.1\)"):
        train(changed(trained.recipe, train__lr=0.1))


def test_nobody_else_can_read_a_run(trained):
    """The run's folder lets nobody else in, and a checkpoint stays private where it is moved to."""
    folder = trained.work / "runs" / trained.recipe.name
    made = [folder, *(path for found in folder.glob("checkpoint-*") for path in (found, *found.rglob("*")))]
    assert [path for path in made if path.name == "weights.safetensors"]
    assert {path: oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o077} == {}


@pytest.mark.campaign  # as the kill campaigns, with all that a recipe can add
@pytest.mark.usefixtures("unregistered")
def test_two_workers_and_a_killed_one_go_on_in_the_same_run(recipe, work):
    """Rank 0 kills its own process once, after the first epoch; steps that were logged are not logged twice.

    With all that a recipe can add to a training.
    """
    recipe = changed(recipe, train__epochs=4, compute__workers=2, **ADDED)
    folder = work / "runs" / recipe.name
    killed = threading.Event()
    over = threading.Event()

    def kill_once():
        progress = folder / "progress.jsonl"
        while not over.wait(0.02):
            if progress.exists() and '"kind": "epoch"' in progress.read_text():
                os.kill(int((folder / "rank-0.pid").read_text()), signal.SIGKILL)
                killed.set()
                return

    killer = threading.Thread(target=kill_once)
    killer.start()
    try:
        result = train(recipe)
    finally:
        over.set()
        killer.join()
    assert killed.is_set()
    assert steps(work, result.run_id) == list(range(1, 13))
    assert steps(work, result.run_id, "val/top1_percent") == [3, 6, 9, 12]
    assert (result.checkpoint / "training.safetensors").exists()  # beside the average
    store = client(tracking_uri(work))
    assert len(store.search_runs(["1"])) == 1
    assert store.get_run(result.run_id).info.status == "FINISHED"


@pytest.mark.usefixtures("unregistered")
def test_an_interrupted_training_goes_on_under_its_name(recipe, work, caplog):
    """The first start, of two workers, ends in an error after its checkpoints; the second goes on from the last.

    In this process, with more threads.
    """
    recipe = changed(recipe, compute__max_failures=0, compute__workers=2, train__epochs=8)
    progress = work / "runs" / recipe.name / "progress.jsonl"
    over = threading.Event()

    def kill():
        while not over.wait(0.02):
            if progress.exists() and progress.read_text().count('"kind": "epoch"') >= 2:
                os.kill(int(progress.with_name("rank-0.pid").read_text()), signal.SIGKILL)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(Exception, match=r"(?i)worker|actor"):
            train(recipe)
    finally:
        over.set()
        killer.join()
    store = client(tracking_uri(work))
    (run,) = store.search_runs(["1"])
    assert run.info.status == "FAILED"
    result = train(changed(recipe, compute__workers=1, compute__cpus_per_worker=2))
    assert result.run_id == run.info.run_id
    assert steps(work, result.run_id) == list(range(1, 25))
    assert "was computed with threads 1, and this worker has threads 2: equal to rounding from here" in caplog.text
    assert json.loads((work / "runs" / recipe.name / "run.json").read_text())["result"]["metrics"]["epoch"] <= 8


@pytest.mark.usefixtures("unregistered")
def test_a_training_that_gets_no_better_ends_early_and_says_so(recipe, work):
    recipe = changed(recipe, train__epochs=30, train__lr=1e-9, train__patience=2)
    result = train(recipe)
    ended = max(steps(work, result.run_id, "val/top1_percent")) // 3
    assert 3 <= ended < 30
    assert result.chosen.endswith(f"; stopped early, after epoch {ended} of 30")
    assert client(tracking_uri(work)).get_run(result.run_id).info.status == "FINISHED"
    again = train(recipe)
    assert (again.finished_before, again.chosen) == (True, result.chosen)


@pytest.mark.usefixtures("unregistered")
def test_without_a_val_part_the_last_checkpoint_is_used_and_said(recipe, work, dataset, tmp_path):
    recipe = replace(recipe, data=replace(recipe.data, dataset=without_val(dataset, tmp_path)))
    result = train(changed(recipe, train__epochs=2))
    assert "no val part" in result.chosen
    assert result.metrics["epoch"] == 2
    run = client(tracking_uri(work)).get_run(result.run_id)
    assert "no val part" in run.data.tags["checkpoint"]


def without_val(dataset, folder):
    """Copy a dataset and turn its val part into train."""
    import shutil

    copy = folder / "noval"
    shutil.copytree(dataset, copy)
    splits = read_table(str(copy), "splits")
    moved = [{**row, "part": "train" if row["part"] == "val" else row["part"]} for row in splits.to_pylist()]
    change_tables(copy, splits=splits.from_pylist(moved, schema=splits.schema))
    return str(copy)


def test_an_impossible_training_is_one_sentence(recipe, work):
    with pytest.raises(UserError, match=r"compute\.workers=64 is more than the 2 shares that a step is cut into"):
        train(changed(recipe, compute__workers=64))
    with pytest.raises(UserError, match=r"takes 64 CPUs .* the cluster has 2"):
        train(changed(recipe, compute__workers=64, train__micro_batches=64))
    with pytest.raises(UserError, match="takes 1 GPUs"):
        train(changed(recipe, compute__gpus_per_worker=1))
    assert not (work / "runs").exists()


def workers_started():
    """Return how many workers of trainings this Ray has started so far."""
    from ray._private.state import actors

    return sum(actor["ActorClassName"] == "RayTrainWorker" for actor in actors().values())


def test_a_loss_that_overflows_ends_the_run_at_once_as_failed_with_the_reason(recipe, work):
    before = workers_started()
    with pytest.raises(UserError, match="no longer finite"):
        train(changed(recipe, train__lr=1e30, compute__workers=2))
    assert workers_started() == before + 2  # and none anew
    (run,) = client(tracking_uri(work)).search_runs(["1"])
    assert run.info.status == "FAILED"
    assert "no longer finite" in run.data.tags["error"]


@pytest.mark.usefixtures("unregistered")
def test_a_training_starts_from_the_weights_of_another_run(recipe, trained, work, monkeypatch):
    """With a learning rate that changes nothing, what it scores is what it was given."""
    monkeypatch.setenv("MAREY_WORK", str(trained.work))
    given = resolve("squares").checkpoint / "weights.safetensors"
    expected = train(trained.recipe).metrics["val/top1_percent"]
    monkeypatch.setenv("MAREY_WORK", str(work))
    still = changed(recipe, model__weights=str(given), train__lr=1e-12, train__epochs=1, train__momentum=0.0)
    result = train(changed(still, name="fine", compute__workers=2))
    assert result.metrics["val/top1_percent"] == pytest.approx(expected, abs=15)  # batch norm saw one epoch more
    assert train(changed(recipe, name="random", train__lr=1e-12, train__epochs=1)).metrics["val/top1_percent"] < 50
    tags = client(tracking_uri(work)).get_run(result.run_id).data.tags
    assert tags["weights"] == str(given)
    assert "new: none; left over: none" in tags["weights.taken"]
    with pytest.raises(UserError, match="there is no file"):
        train(changed(recipe, name="lost", model__weights="nowhere.pth"))


@pytest.mark.usefixtures("unregistered")
def test_a_finished_training_goes_on_as_the_refusal_says(trained, tmp_path, monkeypatch, capsys):
    """From its weights under another name, those of its classifier too: a learning rate of nothing shows it."""
    from pipelines import cli

    monkeypatch.setenv("MAREY_WORK", str(trained.work))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "squares").mkdir()  # a folder of that name, such as the dataset's, is no run
    (tmp_path / "squares.yaml").write_text(recipes.dump(trained.recipe))
    assert cli.main(["train", "squares.yaml", "--set", "train.epochs=14"]) == 2
    way = re.search(r"`(--set name=\.\.\. --set model\.weights=squares)`", capsys.readouterr().err)[1]
    longer = way.replace("name=...", "name=longer").split()
    still = ["--set", "train.epochs=1", "--set", "train.lr=1e-12", "--set", "train.momentum=0"]
    assert cli.main(["train", "squares.yaml", *longer, *still, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["val/top1_percent"] > 60  # as `trained`, but that batch norm saw one epoch more
    tags = client(tracking_uri(trained.work)).get_run(found["run_id"]).data.tags
    assert tags["weights"] == "squares"
    assert "new: none; left over: none" in tags["weights.taken"]


@pytest.mark.usefixtures("unregistered")
def test_a_stream_that_trains_on_pairs_is_tested_on_frames(recipe, work):
    from pipelines.evaluate import evaluate

    pairs = changed(recipe, name="pairs", model__name="stin_spatial", train__epochs=1)
    result = train(pairs)
    assert {"train/loss_main", "train/loss_difference"} <= set(
        client(tracking_uri(work)).get_run(result.run_id).data.metrics
    )
    done = evaluate("pairs", overrides={"clips": 1, "crops": 3}, progress=False)
    assert [protocol.endswith("2 segments") for protocol in done.results] == [True, True]
