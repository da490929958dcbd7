"""All verbs from a nested folder, with paths that lead out of it: nothing is looked for, or left, anywhere else."""

from __future__ import annotations

import pytest
from walk import MADE, WALK, lay_out

from pipelines import cli
from pipelines.recipe import load
from pipelines.tracking import RunFolder


@pytest.mark.campaign  # every verb: a minute
@pytest.mark.usefixtures("ray", "unregistered")
def test_every_verb_finds_what_lies_beside_its_folder(tmp_path, monkeypatch, capsys):
    here = lay_out(tmp_path)
    monkeypatch.chdir(here)
    monkeypatch.setenv("MAREY_WORK", "../work")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("pipelines.run.one_recipe.Tracker.describe_version", lambda *_: "")  # none is registered
    for words in WALK:
        assert cli.main(words) == 0, f"{words}: {capsys.readouterr().err}"
    assert {entry.name for entry in tmp_path.iterdir()} == MADE | {"work"}
    assert list(here.iterdir()) == []
    for name in ("walked", "ran"):
        state = RunFolder(tmp_path / "work" / "runs" / name).read_state()
        assert state.recipe["data"]["dataset"] == str(tmp_path / "data")
    (best,) = (tmp_path / "work" / "sweeps").glob("*/best.yaml")
    assert load(best).data.dataset == str(tmp_path / "data")
    assert str(tmp_path / "videos" / "left" / "0.mp4") in (tmp_path / "found.csv").read_text()
