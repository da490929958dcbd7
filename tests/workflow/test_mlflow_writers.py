"""Twenty trainings write to one `marey mlflow-server` at once, which is started again meanwhile."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import postgres
import processes
import pytest
import s3
from shared_mlflow import served

from cluster import ports
from pipelines.tracking import Tracker
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.store import client

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]  # a minute or two each
WRITERS = 20
STEPS = 100
"""Steps of each training before the server ends, while it is away, and after."""
ARRIVED_S = 300.0
"""How long what has waited may take to arrive on a busy machine."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "PG")):
            monkeypatch.delenv(name)


@pytest.fixture(params=["a file and a folder", "PostgreSQL and S3"])
def options(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Return what the server keeps runs and artifacts in, and the variables that it needs for that."""
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    if request.param == "a file and a folder":
        yield [], {}
        return
    path = postgres.driver(tmp_path / "driver")
    with postgres.running() as port, s3.moto() as there:
        environment = s3.environment(f"http://127.0.0.1:{there}")
        postgres.query(path, postgres.address(port), "CREATE DATABASE mlflow")
        make_bucket(environment)
        store = f"postgresql://marey@127.0.0.1:{port}/mlflow"
        yield (
            ["--store", store, "--artifacts", "s3://marey/artifacts"],
            environment | {"PYTHONPATH": path, "PGPASSWORD": postgres.PASSWORD},
        )


def make_bucket(environment: dict[str, str]) -> None:
    code = "import fsspec; fsspec.filesystem('s3').mkdir('marey')"
    done = processes.run([sys.executable, "-c", code], env=os.environ | environment)
    assert done.returncode == 0, done.stderr


class Writers:
    """Trainings as MLflow sees them: each with a run, an artifact, and points of two metrics."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.runs = [Tracker.start(folder, f"training-{number}", params={}, tags={}) for number in range(WRITERS)]
        self._boxes = [
            stack.enter_context(Outbox(str(folder / "outbox" / run.run_id), run.uri, run.run_id)) for run in self.runs
        ]
        self._steps = 0

    def train(self) -> None:
        """Take the next steps, all trainings in turns."""
        for step in range(self._steps + 1, self._steps + STEPS + 1):
            for number, box in enumerate(self._boxes):
                box.add({"train/loss": number + 1 / step, "train/lr": 0.1}, step)
        for box in self._boxes:
            box.keep()
        self._steps += STEPS

    def arrive(self) -> None:
        """Wait until MLflow has every step of every training, once and in order."""
        expected, deadline = list(range(1, self._steps + 1)), time.monotonic() + ARRIVED_S
        for number, run in enumerate(self.runs):
            while len((history := run.read_history()).get("train/loss", [])) < len(expected):
                assert time.monotonic() < deadline, f"training {number} lacks steps"
                time.sleep(0.2)
            assert [step for step, _ in history["train/loss"]] == expected
            assert [value for _, value in history["train/loss"]] == [number + 1 / step for step in expected]
            assert [step for step, _ in history["train/lr"]] == expected


def test_twenty_trainings_lose_and_double_nothing(
    options: tuple[list[str], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, variables = options
    port = ports.free(1)[0]
    words = ["--port", str(port), "--workers", "2", *words]
    (tmp_path / "curves.txt").write_text("falling")
    with ExitStack() as stack:
        with served(*words, **variables) as server:
            for name, value in server.variables().items():
                monkeypatch.setenv(name, value)
            writers = Writers(tmp_path / "client", stack)
            writers.train()
        writers.train()
        with served(*words, **variables):
            writers.train()
            writers.arrive()
            for run in writers.runs:
                run.log_artifact(tmp_path / "curves.txt")
                run.end("FINISHED")
                (tmp_path / run.run_id).mkdir()
                kept = client(run.uri).download_artifacts(run.run_id, "curves.txt", str(tmp_path / run.run_id))
                assert Path(kept).read_text() == "falling"
            stack.close()
