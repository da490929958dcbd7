"""The worked examples of CONTRIBUTING.md work as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from paths import ROOT
from small_dataset import write_dataset

import tasks.data.layouts as layouts
from models import describe as describe_module
from models.common.description import Description, ReferenceCost

pytestmark = pytest.mark.quick

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
(DIFF,) = re.findall(r"```diff\n(.*?)```", TEXT, re.DOTALL)
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


def apply(diff: str, root: Path) -> set[str]:
    """Make the changes of a diff whose hunks have no line numbers; returns the files."""
    changed = set()
    for name, hunks in re.findall(r"^\+\+\+ b/(\S+)\n(.*?)(?=^--- a/|\Z)", diff, re.DOTALL | re.MULTILINE):
        text = (root / name).read_text()
        for hunk in hunks.removeprefix("@@\n").split("@@\n"):
            before, after = (
                "".join(line[1:] for line in hunk.splitlines(True) if line[0] in kind) for kind in (" -", " +")
            )
            assert text.count(before) == 1, f"{name} has no place like this:\n{before}"
            text = text.replace(before, after)
        (root / name).write_text(text)
        changed.add(name)
    return changed


NEGATIVES = """
import sys
from dataclasses import replace

import numpy as np

from models import describe
from pipelines import recipe
from pipelines.errors import UserError
from tasks.clips.clips import train_clip
from tasks.data import open_dataset

dataset = open_dataset(sys.argv[1])
sample = dataset.samples("train")[0]
content = {"name": "x", "data": {"dataset": sys.argv[1]}, "model": {"name": "stm"}}
content["input"] = {"size": 32, "segments": 2}
recipes = (recipe.parse(content, {"input.negative": p}) for p in (None, 1.0))
plain, turned = (recipe.clip_settings(one, dataset.classes) for one in recipes)
a, b = (train_clip(dataset, sample, clip, epoch=0) for clip in (plain, turned))
mean, std = (np.reshape(value, (3, 1, 1, 1)) for value in (plain.mean, plain.std))
a, b = (np.rint((clip * std + mean) * 255) for clip in (a, b))
print((a != b).any(), (b == 255 - a).all())
print(recipe.published_clip(replace(describe("stm"), clip={"segments": 8, "negative": 0.5}), "rgb").negative)
for field, value in (("negative", 2), ("nevative", 1)):
    try:
        recipe.parse(content, {f"input.{field}": value})
    except UserError as error:
        print(error)
"""


def test_the_augmentation_example_is_all_that_an_augmentation_takes(tmp_path):
    for name in ("models", "tasks", "pipelines", "cluster"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert apply(DIFF, tmp_path) == {"tasks/clips/settings.py", "tasks/clips/changes.py"}
    dataset = write_dataset(tmp_path / "dataset")
    done = subprocess.run(
        [sys.executable, "-c", NEGATIVES, dataset],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "True True",
        "0.5",
        "recipe: input.negative must be from 0 to 1, not 2.0",
        "--set input.nevative: unknown field 'input.nevative'; did you mean 'input.negative'?",
    ], done.stderr
