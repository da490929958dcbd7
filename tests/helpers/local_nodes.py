"""Trainings on a cluster of several nodes on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import long_training
import processes
from paths import ROOT

from cluster import local

LIMIT_S = 600.0


@dataclass
class Training:
    """A command that trains on the cluster."""

    name: str
    work: Path
    log: Path
    process: subprocess.Popen[Any]

    def said(self) -> str:
        """Return what it has said so far."""
        return self.log.read_text()

    def end(self) -> str:
        """Wait for its end, which must be a good one; return the sha256 of its weights."""
        assert self.process.wait(LIMIT_S) == 0, self.said()
        return long_training.weights(self.work, self.name)


@contextlib.contextmanager
def training(work: Path, made: local.LocalCluster, recipe: Path, **variables: str) -> Iterator[Training]:
    """Give the command of a recipe, whose workspace is `work`."""
    log = work / f"{recipe.stem}-{time.monotonic_ns()}.log"
    environment = _environment(made) | {"RAY_ADDRESS": made.address, "MAREY_WORK": str(work)} | variables
    with (
        log.open("wb") as output,
        processes.started(
            long_training.command(recipe), cwd=ROOT, env=environment, limit=3600, stdout=output, stderr=output
        ) as process,
    ):
        yield Training(recipe.stem, work, log, process)


def _environment(made: local.LocalCluster) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_W", "MLFLOW"))}
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": made.token_path,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
