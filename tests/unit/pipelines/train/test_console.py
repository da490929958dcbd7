import json
import logging

import pytest

from pipelines.tracking import RunFolder
from pipelines.train.console import Console, progress_line, time_line

pytestmark = pytest.mark.quick

LINE = {
    "kind": "epoch",
    "time": 100.0,
    "epochs": 50,
    "step": 30,
    "steps": 500,
    "epoch": 3.0,
    "train/loss": 1.234,
    "train/top1_percent": 45.1,
    "workers/clips_per_s": 34.21,
}


def test_a_line_names_epoch_loss_accuracy_speed_and_time_left():
    text = progress_line({**LINE, "val/top1_percent": 62.5}, 130.2)
    assert text == "epoch  3/50  loss  1.234  train  45.1 %  val  62.5 %  34.2 clips/s  0:02:10 left"
    assert progress_line({**LINE, "epoch": 3.25}, None).startswith("epoch 3.2/50")


def test_a_line_tells_where_the_time_went():
    shares = {"wait": 24.6, "copy": 0.4, "upstream": 0.0, "forward": 20.0, "backward": 40.0, "sums": 5.0}
    shares |= {"optimizer": 8.0, "report": 2.0}
    line = {f"workers/epoch/{name}_percent": share for name, share in shares.items()}
    text = time_line({**LINE, **line, "workers/epoch/saved_by_free_loader_percent": 30.2})
    assert text == (
        "time in %: wait 25, forward 20, backward 40, sums 5, optimizer 8, report 2; with a free loader it would take "
        "30 % less"
    )


def test_the_console_follows_the_file_from_where_it_is(tmp_path, caplog):
    path = tmp_path / "progress.jsonl"
    path.write_text(json.dumps({**LINE, "epoch": 1.0}) + "\n")  # of an earlier start
    with caplog.at_level(logging.INFO), Console(RunFolder(tmp_path)), path.open("a") as file:
        file.write(json.dumps(LINE) + "\n" + json.dumps({**LINE, "step": 40, "time": 110.0, "epoch": 4.0})[:20])
        file.flush()
        file.write(json.dumps({**LINE, "step": 40, "time": 110.0, "epoch": 4.0})[20:] + "\n")
    shown = [record.getMessage() for record in caplog.records]
    assert [text[:11] for text in shown] == ["epoch  3/50", "epoch  4/50"]
    assert shown[1].endswith("0:07:40 left")  # 10 s for 10 steps, 460 to go


def test_the_time_left_is_that_of_the_workers_that_go_on(tmp_path, caplog):
    reports = [
        {**LINE, "step": 30, "time": 100.0},
        {"kind": "note", "text": "going on with 1 worker after step 20"},
        {**LINE, "step": 30, "time": 400.0},
        {**LINE, "step": 40, "time": 420.0},
    ]
    with caplog.at_level(logging.INFO), Console(RunFolder(tmp_path)), (tmp_path / "progress.jsonl").open("a") as file:
        file.write("".join(json.dumps(report) + "\n" for report in reports))
    shown = [record.getMessage() for record in caplog.records]
    assert shown[1] == "going on with 1 worker after step 20"
    assert shown[3].endswith("0:15:20 left")  # 20 s for 10 steps, 460 to go
