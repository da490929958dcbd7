"""`marey cluster init` on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from processes import run

from cluster.definitions import TARGETS

pytestmark = pytest.mark.quick

VALUES = ["--set", "images=registry.example.com/me/marey", "--set", "workspace=s3://bucket/work"]


def marey(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", "cluster", *words]
    return run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_it_writes_and_says_what_comes_next(tmp_path: Path) -> None:
    done = marey("init", "kuberay", *VALUES, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    wrote = [line.removeprefix("wrote ") for line in lines if line.startswith("wrote ")]
    assert wrote == ["kuberay/mlflow.yaml", "kuberay/raycluster.yaml", "kuberay/rayjob.yaml"]
    assert all((tmp_path / name).is_file() for name in wrote)
    assert lines[len(wrote)] == "next:"
    assert "kubectl apply -f kuberay/mlflow.yaml" in lines
    again = marey("init", "kuberay", *VALUES, folder=tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("marey: kuberay/mlflow.yaml is there already")


def test_json(tmp_path: Path) -> None:
    done = marey("init", "kuberay", "elsewhere", *VALUES, "--json", folder=tmp_path)
    written = json.loads(done.stdout)
    assert written["files"][0] == str(tmp_path / "elsewhere" / "mlflow.yaml")
    assert written["values"]["cpu_workers"] == 8


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["init"], "init needs a target, such as `marey cluster init kuberay`"),
        (["init", "kubray"], "TARGET: unknown 'kubray'; did you mean 'kuberay'?"),
        (["init", "kuberay", "--set", "imges=a"], "unknown key 'imges' of kuberay; did you mean 'images'?"),
        (["up", "kuberay"], "a target and --set belong to init: `marey cluster up` takes neither"),
        (["down", "--set", "name=a"], "a target and --set belong to init: `marey cluster down` takes neither"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], says: str, tmp_path: Path) -> None:
    done = marey(*words, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


def test_every_target_is_known(tmp_path: Path) -> None:
    done = marey("init", "qqq", folder=tmp_path)
    assert f"TARGET: unknown 'qqq'; known: {', '.join(sorted(TARGETS))} (" in done.stderr
