"""Nodes of a cluster on this machine that die and join while it works, and the trainings that go through it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import long_training
import processes
import psutil
from paths import ROOT

from cluster import dashboard, local, ray_internals, state

LIMIT_S = 600.0
GOING_ON = r"going on with (\d+) workers? after step (\d+)"


def join(workspace: Path, made: local.LocalCluster) -> None:
    """Start one more node with a CPU, and wait until it is there; `local.down` ends it with the others."""
    before = _alive(made)
    words = [sys.executable, "-P", ray_internals.__file__, "start", "--block", f"--address={made.address}"]
    words += [f"--node-ip-address={ray_internals.LOOPBACK}", "--num-cpus=1", "--num-gpus=0"]
    words += ["--object-store-memory=100000000", "--dashboard-agent-listen-port=0"]
    words += ["--min-worker-port=0", "--max-worker-port=0"]
    log = state.log_of(workspace, len(made.nodes))
    variables = environment(made) | {state.VARIABLE: made.temp, "RAY_USAGE_STATS_ENABLED": "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=made.temp, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    made.nodes.append(state.Node(process.pid, state.started(process.pid) or 0, str(log)))
    state.write(workspace, made)
    deadline = time.monotonic() + LIMIT_S
    while not _alive(made) - before:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _alive(made: local.LocalCluster) -> set[str]:
    """Return the ids of the cluster's nodes."""
    return {node["node_id"] for node in dashboard.nodes(made.dashboard, made.token) if node["state"] == "ALIVE"}


def kill(process: psutil.Process) -> None:
    """End a process and all that it has started, at once."""
    for each in [*_family(process), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def named(made: local.LocalCluster, words: str, first: int = 0) -> list[psutil.Process]:
    """Return the processes of the nodes, from the `first` of them on, whose command holds these words."""
    found = []
    for process in itertools.chain.from_iterable(map(_family, made.processes()[first:])):
        with contextlib.suppress(psutil.NoSuchProcess):
            if words in " ".join(process.cmdline()):
                found.append(process)
    return found


def _family(node: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return node.children(recursive=True)
    return []


class Training(long_training.Training):
    """A command that trains on the cluster."""

    def going_on(self) -> list[int]:
        """Return with how many workers it has gone on, each time that it has."""
        return [int(workers) for workers, _ in re.findall(GOING_ON, self.said())]

    def go_on_with(self, workers: int) -> None:
        """Wait until it goes on, after what has just been done to it, with so many workers."""
        self.until(lambda: self.going_on()[-1:] == [workers], LIMIT_S)

    def end(self) -> str:
        """Wait for its end, which must be a good one; return the sha256 of its weights."""
        assert self.process.wait(LIMIT_S) == 0, self.said()
        return long_training.weights(self.work, self.name)


@contextlib.contextmanager
def training(work: Path, made: local.LocalCluster, recipe: Path, **variables: str) -> Iterator[Training]:
    """Give the command of a recipe, whose workspace is `work`."""
    log = work / f"{recipe.stem}-{time.monotonic_ns()}.log"
    variables = environment(made) | {"RAY_ADDRESS": made.address, "MAREY_WORK": str(work)} | variables
    with (
        log.open("wb") as output,
        processes.started(
            long_training.command(recipe), cwd=ROOT, env=variables, limit=3600, stdout=output, stderr=output
        ) as process,
    ):
        yield Training(recipe.stem, work, log, process)


def environment(made: local.LocalCluster) -> dict[str, str]:
    """Return the environment of what joins a cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_W", "MLFLOW"))}
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": made.token_path,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
