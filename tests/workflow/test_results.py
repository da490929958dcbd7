"""The campaign of `make results`, in its short form: cells of one epoch on a handful of videos."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from processes import run

VIDEOS = {"train_clips": 1, "val_clips": 1, "test_clips": 1, "train_people": 1, "val_people": 1, "test_people": 1}
COMMAND = [
    *(sys.executable, "tests/results", "--seeds", "1"),
    *("--only", "tsn*, 3 segments", "dsts with UDL", "ratio 0.5", "--set", "train.epochs=1"),
    *("--videos", json.dumps({**VIDEOS, "size": 48, "frames": 12})),
]


def campaign(work: Path, report: Path, *studies: str) -> str:
    environment = {**os.environ, "MAREY_WORK": str(work), "OMP_NUM_THREADS": "1"}
    done = run([*COMMAND, "--report", str(report), "--study", *studies], cwd=ROOT, env=environment, limit=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_cells_are_trained_once_and_their_table_takes_its_place(tmp_path):
    report = tmp_path / "results.md"
    empty = "".join(f"<!-- {name}: begin -->\n<!-- {name}: end -->\n" for name in ("dsts", "mtnet"))
    report.write_text(f"before\n{empty}<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n")
    assert "2/2" in campaign(tmp_path, report, "figures", "dsts")

    cells = tmp_path / "results" / "cells" / "figures"
    (rgb,), (flow,) = cells.glob("tsn,*.json"), cells.glob("tsn_flow,*.json")
    told = json.loads(rgb.read_text())
    assert told["commit"]
    assert told["minutes"] > 0
    scores, both = (dict(np.load(file.with_suffix(".npz"))) for file in (rgb, flow))
    top1 = 100 * (scores["scores"].argmax(1) == scores["labels"]).mean()
    assert told["top1_percent"] == top1
    fused = 100 * ((scores["scores"] + 1.5 * both["scores"]).argmax(1) == scores["labels"]).mean()
    text = report.read_text()
    assert text.startswith("before\n<!-- dsts: begin -->\n| configuration |")
    assert "![samples by neuron, and channels by kind](dsts.png)\n<!-- dsts: end -->" in text
    assert (tmp_path / "dsts.png").read_bytes().startswith(b"\x89PNG")
    assert text.endswith("<!-- figures: end -->\nafter\n")
    assert "old" not in text
    assert f"| tsn, 3 segments | {top1:.1f} |" in text
    assert f"| two-stream: tsn + tsn flow, 3 segments | {fused:.1f} |" in text

    stamp = rgb.stat().st_mtime_ns
    flow.unlink()
    printed = campaign(tmp_path, report, "figures", "mtnet")
    assert printed.count(" min\n") == 2
    assert "<!-- mtnet: begin -->\n| configuration |" in report.read_text()  # of a cell with a dot in its name
    assert rgb.stat().st_mtime_ns == stamp
    assert flow.exists()
