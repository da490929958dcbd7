"""A training of a small network that takes a while, as a command line, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import yaml
from mlflow import MlflowClient
from small_dataset import write_dataset

LIMIT_S = 300.0


def write(folder: Path, *, epochs: int, workers: int | list[int] = 1, **compute: object) -> Path:
    """Write a dataset and a recipe named `long` that trains on it, 50 steps an epoch; return the recipe's file."""
    data = folder / "data"
    if not data.exists():
        write_dataset(data, videos=100, flow=False, shard_videos=50)
    path = folder / "long.yaml"
    recipe = {
        "name": "long",
        "data": {"dataset": str(data), "split": "second"},
        "model": {"name": "tsn", "options": {"tiny": True, "dropout": 0.0}},
        "input": {"size": 40, "segments": 8},
        "train": {"epochs": epochs, "batch_size": 4, "lr": 0.01, "log_every": 1, "loader_threads": 1},
        "compute": {"workers": workers, **compute},
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def command(recipe: Path) -> list[str]:
    """Return the words of `marey train`."""
    return [sys.executable, "-P", "-m", "pipelines", "train", str(recipe)]


def reached(work: Path) -> int:
    """Return the last step that a training has reported; 0 before the first."""
    progress = work / "runs" / "long" / "progress.jsonl"
    if not progress.exists():
        return 0
    return max((int(step) for step in re.findall(r'"step": (\d+)', progress.read_text())), default=0)


def wait_for(process: subprocess.Popen[str], work: Path, step: int) -> None:
    """Wait until a training, which must go on meanwhile, has reported a step."""
    deadline = time.monotonic() + LIMIT_S
    while reached(work) < step:
        assert process.poll() is None, f"exit code {process.returncode} after step {reached(work)}"
        assert time.monotonic() < deadline, f"step {reached(work)} after {LIMIT_S:.0f} s"
        time.sleep(0.1)


def weights(work: Path) -> str:
    """Return the sha256 of the weights that a finished training has ended with."""
    last = max((work / "runs" / "long").glob("checkpoint-*"))
    return hashlib.sha256((last / "weights.safetensors").read_bytes()).hexdigest()


def chosen(work: Path) -> str:
    """Return the run of a finished training."""
    state = json.loads((work / "runs" / "long" / "run.json").read_text())
    assert state["result"]
    return str(state["run_id"])


def check_tracked(uri: str, run_id: str, steps: int) -> None:
    """Check that there is one run, with every step once."""
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [run.info.run_id for run in runs] == [run_id]
    assert runs[0].info.status == "FINISHED"
    assert [one.step for one in client.get_metric_history(run_id, "train/loss")] == list(range(1, steps + 1))
