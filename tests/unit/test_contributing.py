"""The worked examples of CONTRIBUTING.md work as they stand there."""

from __future__ import annotations

import json
import re
import sys
import types

import pytest
import torch
from paths import ROOT

import tasks.data.layouts as layouts
from models import describe as describe_module
from models.common.description import Description, ReferenceCost

pytestmark = pytest.mark.quick

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
NETWORK, ENTRY, LAYOUT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_network_example_builds_and_scores(monkeypatch):
    module = types.ModuleType("models.tsn_max")
    exec(NETWORK, module.__dict__)
    monkeypatch.setitem(sys.modules, "models.tsn_max", module)
    entry = eval(ENTRY, {"Description": Description, "ReferenceCost": ReferenceCost})
    table = sys.modules[describe_module.__module__]._BY_NAME
    monkeypatch.setitem(table, entry.name, entry)
    assert describe_module("tsn_max") is entry

    from models import build

    network = build("tsn_max", 5, tiny=True).eval()
    clip = torch.randn(2, 3, 4, 32, 32)
    each = torch.stack([network(clip[:, :, t : t + 1]) for t in range(4)])
    torch.testing.assert_close(network(clip), each.amax(0))


def test_the_layout_example_lists_videos(monkeypatch, tmp_path):
    (tmp_path / "jsonl.py").write_text(LAYOUT)
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(tmp_path)])
    source = tmp_path / "videos.jsonl"
    source.write_text(json.dumps({"file": "clips/1.mp4", "action": "wave"}))

    assert "jsonl" in layouts.names()
    (row,) = layouts.read("jsonl", str(source)).rows
    assert (row.label, row.uri) == ("wave", str(tmp_path / "clips/1.mp4"))
