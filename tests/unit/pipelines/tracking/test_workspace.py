"""Folders of the workspace: their owner's alone, or one sentence where they cannot be made."""

import os
import stat
import subprocess
import sys

import pytest

from cluster.attach import ROOT
from pipelines.errors import UserError
from pipelines.tracking.run_folder import RunFolder
from pipelines.tracking.state import State
from pipelines.tracking.workspace import make_file, make_folder

pytestmark = pytest.mark.quick


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "deep" / "work"))
    return tmp_path / "deep" / "work"


def mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_what_is_made_is_its_owners_alone(work):
    RunFolder.of("waves").write_state(State("run", "digest", {}))
    make_file(work / "mlflow.db", tighten=True)
    assert [mode(path) for path in (work, work / "runs", work / "runs" / "waves")] == ["0o700"] * 3
    assert mode(work / "mlflow.db") == "0o600"


def test_a_file_that_others_could_read_is_tightened(work):
    make_folder(work)
    file = work / "mlflow.db"
    file.write_text("content")
    for tighten, expected in [(False, "0o644"), (True, "0o600")]:
        file.chmod(0o644)
        make_file(file, tighten=tighten)
        assert mode(file) == expected
    assert file.read_text() == "content"


def test_a_workspace_shared_with_a_group_stays_shared(work):
    work.mkdir(parents=True)
    work.chmod(0o2770)
    folder = make_folder(work / "runs" / "waves")
    make_file(work / "mlflow.db", tighten=True)
    assert (mode(folder), mode(folder.parent), mode(work / "mlflow.db")) == ("0o2770", "0o2770", "0o660")
    assert mode(work) == "0o2770"


@pytest.mark.parametrize("where", ["deep", "deep/work", "deep/work/runs"])
def test_a_file_in_its_place_is_one_sentence(work, where):
    place = work.parent.parent / where
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file")
    with pytest.raises(
        UserError, match=rf"the workspace {work} cannot be used .*: set MAREY_WORK to a folder of yours"
    ):
        make_folder(work / "runs")
    assert RunFolder.of("waves").read_state() is None  # a verb that looks for an earlier start is not stopped before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("there", [True, False])
def test_another_users_workspace_is_one_sentence(work, there):
    if there:
        work.mkdir(parents=True)
    make = f"make_folder(Path({str(work)!r}))"
    code = f"from pathlib import Path; from pipelines.tracking.workspace import make_folder; {make}"
    become = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    done = subprocess.run([*become, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "UserError: the workspace" in done.stderr
    assert "ermission" in done.stderr
