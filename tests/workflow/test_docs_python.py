"""docs/python.md runs as it stands, from top to bottom, in an empty folder."""

from __future__ import annotations

import re

from paths import ROOT

TEXT = (ROOT / "docs/python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_page_runs(ray, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAREY_WORK", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "36 videos, 0 failed, 540 pairs of flow"
    assert names["trained"].checkpoint.is_relative_to(tmp_path / "marey-work")
    assert "['sit_down', 'stand_up'] {'train': 24, 'val': 4, 'test': 8}" in printed
    assert names["sample"]["rgb"].shape == (16, 64, 64, 3)
    assert sum(" (16, 64, 64, 3) " in line for line in printed) == 36


def test_the_workflow_takes_twenty_lines():
    (workflow,) = (block for block in BLOCKS if "marey.prepare(" in block)
    assert len([line for line in workflow.splitlines() if line]) <= 20
