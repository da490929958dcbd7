import csv
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.commands import predict as command
from pipelines.errors import UserError
from pipelines.predict import Prediction, annotate, predict
from pipelines.predict.workflow import write
from tasks.video import decode
from tasks.video.codecs import jpeg_rgb


@pytest.fixture(autouse=True)
def work(trained, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(trained.work))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad" / "bad.mp4"
    path.parent.mkdir()
    path.write_bytes(b"no video")
    return path


def test_a_file_agrees_with_the_evaluation_of_the_same_video(videos, trained):
    """The file, decoded and cropped here, scores as its frames from the shards do (but for their JPEG)."""
    from pipelines.evaluate import evaluate

    result = evaluate("squares", progress=False)
    stored = np.load(result.scores)
    row = [str(video).endswith("red-test-0") for video in stored["video_ids"]].index(True)
    logits = stored["scores_1view"][row]
    percent = 100 * np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    (one,) = predict("squares", [str(videos / "test" / "red" / "red-test-0.mp4")])
    assert [label for label, _ in one.top] == [result.classes[index] for index in np.argsort(-percent)]
    assert sum(share for _, share in one.top) == pytest.approx(100)
    assert dict(one.top) == pytest.approx(dict(zip(result.classes, percent, strict=True)), abs=10)


def test_a_folder_with_a_bad_file_is_exit_3_and_every_video_has_a_line(videos, bad, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    args = command.Args(run="squares", videos=(str(videos / "test"), str(bad.parent)), top=2, out=out, json=True)
    assert command.main(args) == 3
    printed = json.loads(capsys.readouterr().out)
    assert len(printed) == 9
    assert [one["status"] for one in printed] == ["ok"] * 8 + ["failed"]
    assert printed[-1]["kind"] == "unreadable"
    assert all(len(one["top"]) == 2 for one in printed[:-1])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok"] * 8 + ["unreadable"]
    assert rows[0]["label1"] == printed[0]["top"][0]["label"]


@pytest.mark.parametrize("at_a_time", [5, 6, 128])
def test_a_video_is_written_with_its_prediction_drawn_on_it(videos, tmp_path, capsys, monkeypatch, at_a_time):
    """Also where its 12 frames are a multiple of those in memory."""
    monkeypatch.setattr(annotate, "FRAMES", at_a_time)
    source, out = videos / "test" / "red" / "red-test-0.mp4", tmp_path / "out.mp4"
    assert command.main(command.Args(run="squares", videos=(str(source),), annotate=out)) == 0
    capsys.readouterr()
    before, after = decode(str(source)), decode(str(out))
    assert after.images.shape == before.images.shape
    assert after.fps == before.fps
    change = np.abs(after.images.astype(int) - before.images).mean(-1)
    label, rest = change[:, :40, :40].mean(), change[:, 46:].mean()  # three lines of the smallest font on 64 pixels
    assert label > 3 * rest


def test_what_cannot_be_drawn_on_is_one_sentence(videos, bad, tmp_path):
    one = str(videos / "test" / "red" / "red-test-0.mp4")
    for files, out, sentence in (
        ((one, one), "a.mp4", "give a single file"),
        ((str(videos),), "a.mp4", "give a single file"),
        ((one,), "a.avi", "written as .mp4"),
        ((one,), "gone/a.mp4", "there is no folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            command.main(command.Args(run="squares", videos=files, annotate=tmp_path / out))
    assert command.main(command.Args(run="squares", videos=(str(bad),), annotate=tmp_path / "bad.mp4")) == 2
    assert not (tmp_path / "bad.mp4").exists()


def test_only_bad_files_are_exit_2(bad, capsys):
    assert command.main(command.Args(run="squares", videos=(str(bad),))) == 2
    assert "failed (unreadable)" in capsys.readouterr().out


def test_what_cannot_be_predicted_is_one_sentence(tmp_path, videos):
    (tmp_path / "notes.txt").write_text("nothing else is here")
    with pytest.raises(UserError, match="there are no videos in"):
        predict("squares", [str(tmp_path)])
    with pytest.raises(UserError, match="no video is named"):
        predict("squares", [])
    (one,) = predict("squares", [str(tmp_path / "gone.mp4")])
    assert one.kind == "missing"


def frames_of(video, folder):
    folder.mkdir(parents=True)
    for number, data in enumerate(jpeg_rgb(decode(str(video)).images), 1):
        (folder / f"{number:05d}.jpg").write_bytes(data)
    return folder


def test_a_folder_of_frames_is_one_video(videos, tmp_path, capsys):
    video = videos / "test" / "red" / "red-test-0.mp4"
    folder = frames_of(video, tmp_path / "frames")
    (folder / "LICENSE").write_text("Do what you like.\n")
    by_file, by_frames = (predict("squares", [str(path)])[0] for path in (video, folder))
    assert by_frames.video == str(folder)
    assert dict(by_frames.top) == pytest.approx(dict(by_file.top), abs=10)
    out = tmp_path / "out.mp4"
    assert command.main(command.Args(run="squares", videos=(str(folder),), annotate=out)) == 0
    assert len(decode(str(out)).images) == 12
    (two,) = {len(predict("squares", [str(frames_of(video, tmp_path / "many" / name)) for name in "ab"]))}
    assert [Path(one.video).name for one in predict("squares", [str(tmp_path / "many")])] == ["a", "b"]
    assert two == 2
    capsys.readouterr()


@pytest.mark.parametrize("name", ["LICENSE", "README", "README.md", "1.json", "thumbnail.jpg", ".hidden"])
def test_a_file_that_is_not_a_video_is_ignored_and_named(videos, tmp_path, caplog, name):
    shutil.copy(videos / "test" / "red" / "red-test-0.mp4", tmp_path / "1.mp4")
    (tmp_path / name).write_text("not a video\n")
    with caplog.at_level(logging.INFO, "pipelines"):
        assert [Path(one.video).name for one in predict("squares", [str(tmp_path)])] == ["1.mp4"]
    assert [str(tmp_path / name)] * (name != ".hidden") == [
        message.rpartition("such as ")[2] for message in caplog.messages if "file that is not a video" in message
    ]


def test_where_predictions_go_is_checked_before_anything_else(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "1.mp4").touch()
    for out, says in (
        ("nowhere/x.csv", "there is no folder"),
        ("x.txt", "written as .csv"),
        ("folder.csv", "a folder"),
    ):
        with pytest.raises(UserError, match=says):
            command.main(command.Args(run="no such run", videos=("1.mp4",), out=tmp_path / out))
    one = (str(tmp_path / "1.mp4"),)
    with pytest.raises(UserError, match="this is the video itself"):
        command.main(command.Args(run="no such run", videos=one, annotate=tmp_path / "1.mp4"))


def test_classes_and_names_like_formulas_are_text_in_a_table(tmp_path):
    labels = ["=1+1", "-2", "+x", "@y", "two\nlines"]
    write([Prediction("/a/caf\udce9.mp4", [(label, 20.0) for label in labels])], tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert [row[f"label{rank}"] for rank in range(1, 6)] == ["'=1+1", "-2", "'+x", "'@y", "two\nlines"]
    assert row["percent1"] == "20.000"
