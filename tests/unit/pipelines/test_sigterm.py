"""A verb that is told to end says so in one line, whatever it waits for."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import processes
import psutil
import pytest
from paths import ROOT
from small_dataset import write_dataset

from tasks.video.codecs import write_mp4

TOLD = "marey: stopped by SIGTERM; what was finished is kept, and the same command resumes from there\n"


@pytest.fixture
def silent():
    """Return a listener that answers nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(processes.LIMIT_S)
        yield listener


@pytest.fixture
def start(tmp_path):
    """Return a context manager that runs `marey WORDS` in a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_W", "MLFLOW"))}

    def start(*words, **variables):
        return processes.started(
            [sys.executable, "-P", "-m", "pipelines", *words],
            cwd=tmp_path,
            env=kept | {"PYTHONPATH": str(ROOT)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def has_head(process):
    """Return whether a process has started the head of a cluster."""
    with contextlib.suppress(psutil.NoSuchProcess):  # what ends meanwhile
        return any("gcs_server" in each.name() for each in psutil.Process(process.pid).children(recursive=True))
    return False


@pytest.mark.parametrize(
    "words", [("train", "demo_tsn"), ("tune", "demo_tsn"), ("run", "demo_tsn"), ("evaluate", "some"), ("jobs",)]
)
def test_while_a_server_is_asked(words, start, silent, tmp_path):
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    write_dataset(tmp_path / "data")
    if words[1:] == ("demo_tsn",):
        words += ("--set", f"data.dataset={tmp_path / 'data'}", "--set", "data.source=null", "--set", "input.size=32")
    with start(*words, MLFLOW_TRACKING_URI=url, RAY_ADDRESS=url) as process, silent.accept()[0]:
        process.send_signal(signal.SIGTERM)
        shown, said = process.communicate()
    assert (process.returncode, shown) == (130, ""), said
    assert said.splitlines(keepends=True)[-1] == TOLD
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in said.splitlines()[:-1]), said


def test_while_a_node_starts(start):
    with start("cluster", "up", "--local", "1", "--cpus-per-node", "1") as process:
        while not has_head(process):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        shown, said = process.communicate()
    assert (process.returncode, shown) == (130, ""), said
    assert said.splitlines(keepends=True)[-1] == TOLD
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in said.splitlines()[:-1]), said


def test_while_the_ray_of_a_command_starts(start, tmp_path):
    for part in ("train", "test"):
        (tmp_path / "videos" / part / "left").mkdir(parents=True)
        images = np.zeros((6, 48, 48, 3), np.uint8)
        write_mp4(tmp_path / "videos" / part / "left" / f"{part}.mp4", images, 25, crf=30, keyframe_every=6)
    with start("prepare", "videos", "out", "--flow", "none") as process:
        while not has_head(process):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        shown, said = process.communicate()
    assert (process.returncode, shown) == (130, ""), said
    assert re.fullmatch(r"marey: .*; .* the same command resumes from there", said.splitlines()[-1]), said
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in said.splitlines()[:-1]), said
