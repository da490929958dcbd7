"""`marey doctor` on a machine without a cluster: what it finds, and that it ends whatever does not answer."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from processes import run
from refusals import refusal

from cluster.versions import Versions, differences, here

MOST_S = 90.0
"""Seconds that it may take beside other tests; alone it takes 7, and 13 where nothing answers."""


def doctor(*words: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by their names."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "MAREY_"))}
    command = [sys.executable, "-m", "pipelines", "doctor", "--json", *words]
    done = run(command, cwd=ROOT, env=kept | {"no_proxy": "*"} | variables, limit=MOST_S)
    assert not refusal(done.stderr), done.stderr
    diagnosis = json.loads(done.stdout)
    assert diagnosis["works"] == (done.returncode == 0)
    return done.returncode, {finding["name"]: finding for finding in diagnosis["findings"]}


@contextmanager
def silent() -> Iterator[str]:
    """An address at which somebody listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_what_is_needed_works_here_and_nothing_is_made(tmp_path: Path) -> None:
    code, found = doctor(MAREY_WORK=str(tmp_path / "work"))
    assert code == 0, found
    assert not (tmp_path / "work").exists()
    assert {"decord", "PyAV", "OpenCV", "sandbox", "gpu", "shared memory", "port 5000", "mlflow"} <= found.keys()
    for codec in ("h264", "hevc", "vp9", "av1"):
        assert found[codec]["found"] in ("decoded by decord", "decoded by PyAV")
    assert here().ray in found["ray"]["found"]
    assert found["cluster"]["found"] == "none: verbs work on this machine alone"
    assert f"GiB free in {tmp_path / 'work'}" in found["disk"]["found"]
    assert "which the first command makes" in found["tracking"]["found"]
    assert all(finding["advice"] for finding in found.values() if finding["level"] != "ok")


def test_a_line_each_and_a_port_that_is_taken_is_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "doctor"]
    with socket.create_server(("127.0.0.1", 5000)):
        done = run(command, cwd=ROOT, env=os.environ | {"MAREY_WORK": str(tmp_path)}, limit=MOST_S)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"ok", "warning"}
    (port,) = [line for line in lines if "port 5000" in line]
    assert port == f"warning  {'port 5000':<14} taken (marey ui, marey mlflow-server): choose another with --port"


@pytest.mark.parametrize("answers", ["nobody", "silence"])
def test_it_ends_whatever_is_unreachable(tmp_path: Path, answers: str) -> None:
    with silent() as ray, silent() as mlflow:
        if answers == "nobody":
            ray = mlflow = "127.0.0.1:1"
        begun = time.monotonic()
        code, found = doctor("--address", ray, MAREY_WORK=str(tmp_path), MLFLOW_TRACKING_URI=f"http://{mlflow}")
        assert time.monotonic() - begun < MOST_S
    assert code == 1
    assert found["cluster"]["level"] == found["tracking"]["level"] == "error"
    assert found["cluster"]["found"].startswith(f"no Ray cluster answers at {ray}")
    assert f"http://{mlflow}" in found["tracking"]["found"]
    assert found["h264"]["level"] == found["mlflow"]["level"] == "ok"


def test_a_workspace_that_cannot_be_used_and_a_dashboard_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, found = doctor(MAREY_WORK=str(tmp_path / "file"), RAY_ADDRESS="http://127.0.0.1:1")
    assert code == 1
    assert found["workspace"]["found"] == f"{tmp_path / 'file'} cannot be written"
    assert "no Ray dashboard answers at http://127.0.0.1:1" in found["cluster"]["found"]


@pytest.mark.quick
def test_other_versions_there_say_what_to_install() -> None:
    assert differences(here()) == ""
    assert differences(Versions("2.40.0", "3.9.1")) == (
        f"install Ray 2.40.0 here, or Ray {here().ray} there; and Python 3.9.1 here, or Python {here().python} there"
    )
