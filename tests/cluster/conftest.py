"""One real three-node cluster for this folder, and small videos for its jobs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import processes
import psutil
import pytest

from cluster import local
from tasks.video.codecs import write_mp4

MAREY = [str(Path(sys.executable).parent / "marey")]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """Start the cluster in a fresh workspace; whatever happens, none of its processes outlives the tests."""
    folder = tmp_path_factory.mktemp("workspace")
    cluster = local.up(folder, nodes=3, cpus_per_node=1)
    family = [psutil.Process(node.pid) for node in cluster.nodes]
    family += [child for each in family for child in each.children(recursive=True)]
    yield folder
    assert local.down(folder) == 3
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert not Path(cluster.temp).exists()


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Return a folder of two classes of four tiny videos each."""
    folder = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / label).mkdir()
        for index in range(4):
            images = random.integers(0, 255, (6, 48, 48, 3), dtype=np.uint8)
            write_mp4(folder / label / f"{index}.mp4", images, 25, crf=30, keyframe_every=6)
    return folder


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    """Return a folder that holds other packages of our names."""
    folder = tmp_path_factory.mktemp("foreign")
    for name in ("models", "tasks", "cluster"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('the foreign one')\n")
    return folder


@pytest.fixture
def start(foreign):
    """Return a context manager that runs `marey WORDS`, by default in the foreign folder, pointed at no cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_WORK", "MLFLOW"))}

    def start(*words, cwd=foreign, program=MAREY, **variables):
        return processes.started(
            [*program, *words],
            cwd=cwd,
            env=kept | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in variables.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def marey(start):
    """Return a function that runs `marey WORDS` to its end."""

    def run(*words, **options):
        with start(*words, **options) as process:
            stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    return run
