"""A training of a small network that takes a while, as a command line, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from small_dataset import write_dataset

LIMIT_S = 300.0
SMALL = {"name": "tsn", "options": {"tiny": True, "dropout": 0.0}}


def write(
    folder: Path,
    *,
    epochs: int,
    name: str = "long",
    model: Mapping[str, Any] = SMALL,
    train: Mapping[str, Any] | None = None,
    **compute: object,
) -> Path:
    """Write a dataset and a recipe that trains on it, 50 steps an epoch by default; return the recipe's file."""
    data = folder / "data"
    if not data.exists():
        write_dataset(data, videos=100, flow=False, shard_videos=50)
    path = folder / f"{name}.yaml"
    recipe = {
        "name": name,
        "data": {"dataset": str(data), "split": "second"},
        "model": dict(model),
        "input": {"size": 40, "segments": 8},
        "train": {"epochs": epochs, "batch_size": 4, "lr": 0.01, "log_every": 1, "loader_threads": 1} | (train or {}),
        "compute": compute,
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def command(recipe: Path) -> list[str]:
    """Return the words of `marey train`."""
    return [sys.executable, "-P", "-m", "pipelines", "train", str(recipe)]


def reached(work: Path, name: str = "long") -> int:
    """Return the last step that a training has reported; 0 before the first."""
    progress = work / "runs" / name / "progress.jsonl"
    if not progress.exists():
        return 0
    return max((int(step) for step in re.findall(r'"step": (\d+)', progress.read_text())), default=0)


def wait_for(process: subprocess.Popen[str], work: Path, step: int, name: str = "long") -> None:
    """Wait until a training, which must go on meanwhile, has reported a step."""
    deadline = time.monotonic() + LIMIT_S
    while reached(work, name) < step:
        assert process.poll() is None, f"exit code {process.returncode} after step {reached(work, name)}"
        assert time.monotonic() < deadline, f"step {reached(work, name)} after {LIMIT_S:.0f} s"
        time.sleep(0.1)


@dataclass
class Training:
    """A command that trains, whose words go to a file."""

    name: str
    work: Path
    log: Path
    process: subprocess.Popen[Any]

    def reach(self, step: int) -> None:
        """Wait until it has reported a step."""
        wait_for(self.process, self.work, step, self.name)

    def said(self) -> str:
        """Return what it has said so far."""
        return self.log.read_text()

    def until(self, has_said: Callable[[], bool], limit: float) -> None:
        """Wait, so many seconds at most, for what it is to say while it goes on."""
        deadline = time.monotonic() + limit
        while not has_said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)


def weights(work: Path, name: str = "long") -> str:
    """Return the sha256 of the weights that a finished training has ended with."""
    last = max((work / "runs" / name).glob("checkpoint-*"))
    return hashlib.sha256((last / "weights.safetensors").read_bytes()).hexdigest()


def chosen(work: Path, name: str = "long") -> str:
    """Return the run of a finished training."""
    state = json.loads((work / "runs" / name / "run.json").read_text())
    assert state["result"]
    return str(state["run_id"])


def check_tracked(uri: str, run_id: str, steps: int, name: str = "long") -> None:
    """Check that there is one run of the name, with every step once."""
    client = MlflowClient(tracking_uri=uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = [run for run in client.search_runs(experiments) if run.info.run_name == name]
    assert [run.info.run_id for run in runs] == [run_id]
    assert runs[0].info.status == "FINISHED"
    assert [one.step for one in client.get_metric_history(run_id, "train/loss")] == list(range(1, steps + 1))


def finished_trials(work: Path, sweep: str) -> dict[str, int]:
    """Return the trials of a sweep that have finished, and when each has made a step last."""
    found = {}
    for folder in work.glob(f"runs/{sweep}.*"):
        state = folder / "run.json"
        if state.exists() and json.loads(state.read_text()).get("result"):
            found[folder.name] = (folder / "progress.jsonl").stat().st_mtime_ns
    return found
