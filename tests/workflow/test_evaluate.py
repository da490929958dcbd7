import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from changed import change_tables
from prepared import prepare_here

from pipelines.commands import evaluate as command
from pipelines.errors import UserError
from pipelines.evaluate import evaluate, fuse
from pipelines.evaluate.result import per_class, to_text
from pipelines.tracking import tracking_uri, workspace
from pipelines.tracking.find_run import find_run
from pipelines.tracking.tracker import client
from tasks.data.tables import read_table


@pytest.fixture(autouse=True)
def work(trained, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(trained.work))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return trained.work


@pytest.fixture(scope="module")
def result(trained):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_WORK", str(trained.work))
        return evaluate("squares", workers=2, progress=False)


def test_every_video_is_scored_once_on_any_number_of_workers(result):
    first = np.load(result.scores)
    assert result.videos == len(first["video_ids"]) == 8
    for workers in (1, 3):
        again = evaluate("squares", workers=workers, progress=False)
        scores = np.load(again.scores)
        assert again.metrics == result.metrics
        assert (again.confusion == result.confusion).all()
        assert (scores["video_ids"] == first["video_ids"]).all()
        np.testing.assert_array_equal(scores["scores_10view"], first["scores_10view"])


def test_one_view_and_the_papers_views_are_reported(result):
    assert list(result.views.values()) == [1, 10]  # TSN: 10 crops, averaged as logits
    assert result.score_space == "logits"
    assert result.majority_percent == 25
    scores, labels = np.load(result.scores)["scores_10view"], np.load(result.scores)["labels"]
    assert result.metrics["test/10view/top1_percent"] == pytest.approx(100 * (scores.argmax(1) == labels).mean())
    assert result.confusion.sum() == 8
    text = to_text(result)
    assert "10 crops" in text
    assert "logits" in text
    assert "always the most frequent class" in text


def test_a_dataset_for_evaluation_only(trained, videos, tmp_path, capsys):
    """Without a train part there is no most frequent class, and all else is as on the whole dataset."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "test").symlink_to(videos / "test")
    settings = replace(trained.recipe.prepare, flow="none", short_side=64)
    dataset = prepare_here(tmp_path / "source", tmp_path / "only", settings)
    args = command.Args(runs=("squares", dataset), crops=1, json=True)
    assert command.main(args) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["majority_percent"]) == (8, None)
    assert "test/majority_percent" not in found["metrics"]
    result = evaluate("squares", dataset, overrides={"crops": 1}, progress=False)
    assert "most frequent class" not in to_text(result)


def test_files_and_run_hold_the_result(result, trained):
    with (result.folder / "confusion.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == result.classes
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == result.confusion.tolist()
    with (result.folder / "per_class.csv").open() as file:
        assert [row["class"] for row in csv.DictReader(file)] == result.classes
    assert cv2.imread(str(result.folder / "confusion.png")) is not None
    store = client(tracking_uri(trained.work))
    run = store.get_run(trained.run_id)
    assert run.data.metrics["test/10view/top1_percent"] == pytest.approx(result.metrics["test/10view/top1_percent"])
    assert run.data.tags["test.score_space"] == "logits"
    names = {
        file.path.rpartition("/")[2] for file in store.list_artifacts(trained.run_id, f"evaluate/{result.folder.name}")
    }
    assert names == {"confusion.csv", "confusion.png", "errors.html", "per_class.csv", "result.json", "scores.npz"}


def test_the_command_prints_json_and_takes_another_protocol(capsys):
    assert command.main(command.Args(runs=("squares",), part="val", clips=2, crops=1, segments=4, json=True)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["part"] == "val"
    assert list(printed["views"]) == ["1 clip x centre crop, 2 segments", "2 clips x centre crop, 4 segments"]


def test_clips_may_be_drawn_and_a_seed_decides_which():
    def scores(**overrides):
        given = {"clips": 3, "crops": 1, "clip_starts": "random", "part": "val"}
        done = evaluate("squares", overrides=given | overrides, progress=False)
        return list(done.views), np.load(done.scores)["scores_3view"], np.load(done.scores)["scores_1view"]

    protocols, drawn, centre = scores()
    assert protocols == ["1 clip x centre crop, 2 segments", "3 random clips x centre crop, 2 segments"]
    _, again, _ = scores()
    _, other, same = scores(seed=1)
    _, even, _ = scores(clip_starts="even")
    np.testing.assert_allclose(drawn, again, atol=1e-4)
    np.testing.assert_allclose(centre, same, atol=1e-4)
    assert np.abs(drawn - other).max() > 1e-3
    assert np.abs(drawn - even).max() > 1e-3


def test_views_may_have_another_size_than_training():
    done = evaluate("squares", overrides={"size": 48, "crops": 3, "part": "val"}, progress=False)
    assert list(done.views) == ["1 clip x centre crop, 2 segments", "1 clip x 3 crops, 2 segments, 48 pixels"]


def test_a_part_that_is_not_there_and_other_classes_are_refused(trained, dataset, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    manifest = read_table(str(other), "manifest")
    labels = [{"blue": "purple"}.get(label, label) for label in manifest["label"].to_pylist()]
    numbers = [sorted(set(labels)).index(label) for label in labels]
    fresh = manifest.from_pydict({**manifest.to_pydict(), "label": labels, "label_id": numbers}, schema=manifest.schema)
    change_tables(other, manifest=fresh)
    with pytest.raises(UserError, match="blue only in the run; purple only in the dataset"):
        evaluate("squares", str(other), progress=False)
    with pytest.raises(UserError, match=r"unknown field 'evaluate\.clps'; did you mean 'evaluate\.clips'\?"):
        evaluate("squares", overrides={"clps": 1}, progress=False)
    settings = replace(trained.recipe.evaluate, part="val")
    shutil.rmtree(other)
    shutil.copytree(dataset, other)
    splits = read_table(str(other), "splits")
    change_tables(other, splits=splits.filter([part != "val" for part in splits["part"].to_pylist()]))
    with pytest.raises(UserError, match="no val part; known: test, train"):
        evaluate("squares", str(other), settings, progress=False)


def test_a_class_without_videos_has_no_recall():
    rows = per_class(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 0]]), ["a", "b", "c"])
    assert rows[0] == ["a", 4, 3, "75.00", 4, "75.00", "b"]
    assert rows[1] == ["b", 0, 0, "", 1, "0.00", ""]
    assert rows[2] == ["c", 1, 0, "0.00", 0, "", "a"]


@pytest.fixture(scope="module")
def second(trained):
    """Another run on the same videos, of the flow stream."""
    from pipelines import recipe as recipes
    from pipelines.train import train

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_WORK", str(trained.work))
        patch.setattr("pipelines.train.publish.store_networks", lambda *_: None)  # its export, which nobody looks at
        train(recipes.replaced(trained.recipe, {"name": "flowing", "model.stream": "flow", "train.epochs": 2}))
        return evaluate("flowing", progress=False)


def test_runs_are_fused_by_weighted_sums_of_their_scores(result, second):
    tables = [np.load(each.scores) for each in (result, second)]
    labels = tables[0]["labels"]
    one, two = (table["scores_10view"] for table in tables)
    for weights, expected in ((None, one + 1.5 * two), ((2.0, 3.0), one + 1.5 * two), ((1.0, 1.0), one + two)):
        fused = fuse([result, second], weights)
        assert fused.fused.top1_percent == pytest.approx(100 * (expected.argmax(1) == labels).mean())
        saved = np.load(fused.folder / "scores.npz")["scores"]
        assert (saved.argmax(1) == expected.argmax(1)).all()
    for weights, alone in (((1.0, 0.0), result), ((0.0, 1.0), second)):
        fused = fuse([result, second], weights)
        assert fused.fused.top1_percent == alone.metrics["test/10view/top1_percent"]
        assert fused.fused.loss == pytest.approx(alone.metrics["test/10view/loss"])
        assert (fused.fused.confusion == alone.confusion).all()
    assert [run.run_name for run in fused.runs] == ["squares", "flowing"]


def test_the_command_fuses_runs_and_logs_a_run_of_its_own(second, dataset, capsys):
    assert command.main(command.Args(runs=("squares", "flowing", dataset), weights=(1.0, 2.0))) == 0
    printed = capsys.readouterr().out
    assert "together" in printed
    assert "mean logits of 8 videos" in printed
    run = find_run("squares+flowing")
    members = [find_run(name).info.run_id for name in ("squares", "flowing")]
    assert run.info.status == "FINISHED"
    assert run.data.tags["fused.runs"].split() == members
    assert run.data.tags["fused.weights"] == "1 2"
    store = client(tracking_uri(workspace()))
    (folder,) = store.list_artifacts(run.info.run_id, "evaluate")
    kept = {Path(file.path).name for file in store.list_artifacts(run.info.run_id, folder.path)}
    assert kept == {"per_class.csv", "result.json", "scores.npz"}
    told = json.loads(Path(store.download_artifacts(run.info.run_id, f"{folder.path}/result.json")).read_text())
    for name in ("top1_percent", "top5_percent", "mean_class_percent", "loss"):
        assert run.data.metrics[f"test/fused/{name}"] == pytest.approx(told["fused"][name])


def test_runs_that_cannot_be_fused_are_refused_before_the_first_is_scored(second, dataset, tmp_path, monkeypatch):
    import shutil

    from pipelines.tracking import resolve
    from tasks.learn.checkpoint.document import read

    def scored_on_val(recipe):
        recipe["evaluate"]["part"] = "val"

    def averaged_otherwise(recipe):
        recipe["evaluate"]["score_space"] = "softmax"

    monkeypatch.setattr("pipelines.evaluate.workflow.attach", lambda *_: pytest.fail("scoring began"))
    for change, sentence in ((scored_on_val, "are scored on other videos"), (averaged_otherwise, "--score-space")):
        copy = tmp_path / change.__name__
        shutil.copytree(resolve("squares").checkpoint, copy)
        document = read(copy)
        change(document.identity.recipe)
        (copy / "checkpoint.json").write_text(document.text())
        with pytest.raises(UserError, match=f"squares and {change.__name__}.*{sentence}|of squares .*{sentence}"):
            command.main(command.Args(runs=("squares", str(copy))))
    for weights, sentence in (((1.0,), "1 weight for 2 runs"), ((0.0, 0.0), "one of them above 0")):
        with pytest.raises(UserError, match=sentence):
            command.main(command.Args(runs=("squares", "flowing", dataset), weights=weights))
    with pytest.raises(UserError, match="there is neither a prepared dataset nor a checkpoint at /nowhere"):
        command.main(command.Args(runs=("squares", "flowing", "/nowhere")))


@pytest.mark.parametrize(
    ("change", "weights", "sentence"),
    [
        ({}, (1.0,), "1 weight for 2 runs"),
        ({}, (0.0, 0.0), "one of them above 0"),
        ({"score_space": "softmax"}, None, "give --score-space"),
        ({"classes": ["a", "b", "c", "d"]}, None, "trained on other classes"),
    ],
)
def test_what_cannot_be_fused_is_refused(result, change, weights, sentence):
    with pytest.raises(UserError, match=sentence):
        fuse([result, replace(result, **change)], weights)
