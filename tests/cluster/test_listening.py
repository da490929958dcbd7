"""What listens, listens on loopback; and what other accounts of this machine reach there asks for the token."""

import json
import os
import subprocess
import sys
from pathlib import Path

import listeners
import psutil
import pytest
from listeners import Listener
from paths import ROOT
from processes import find_line, run, started

from cluster import local


def families(processes):
    return [member for each in processes for member in (each, *each.children(recursive=True))]


@pytest.mark.cluster
def test_the_local_cluster(workspace):
    found = listeners.of(families(local.current(workspace).processes()))
    assert {"gcs_server", "raylet"} <= {listener.process for listener in found}
    assert [listener for listener in found if not listener.on_loopback] == []
    # As SECURITY.md names it.
    assert [listener for listener in found if not listener.refuses_a_stranger() and not listener.shows_counters()] == []


@pytest.mark.campaign
def test_a_training_of_two_workers_on_this_machine(tmp_path):
    out = tmp_path / "listeners.json"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = run([sys.executable, ROOT / "tests/helpers/listening_training.py", out], cwd=ROOT, env=kept)
    assert done.returncode == 0, done.stderr
    found = [Listener(*each) for each in json.loads(out.read_text())]
    assert {"gcs_server", "raylet"} <= {listener.process for listener in found}
    assert sum(listener.process.startswith("ray::") for listener in found) > 2  # the workers' own
    assert [listener for listener in found if not listener.on_loopback] == []


def test_the_ui(tmp_path):
    (tmp_path / "mlflow.db").touch()
    environment = os.environ | {"MAREY_WORK": str(tmp_path)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [str(Path(sys.executable).parent / "marey"), "ui", "--port", "0"]
    with started(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as ui:
        find_line(ui.stdout, r"http://127\.0\.0\.1:\d+")
        found = listeners.of(families([psutil.Process(ui.pid)]))
        assert found
        assert all(listener.on_loopback for listener in found)
