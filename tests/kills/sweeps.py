"""Sweeps under kill -9: trials, Ray's processes, nodes, the driver and MLflow's server die at random moments.

After each kill that ends the driver the same command is given again. In the end the table of trials equals that of an
undisturbed sweep, no trial that had finished before a kill was touched again, and no run in MLflow is left running.
"""

from __future__ import annotations

import contextlib
import csv
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import local_nodes
import long_training
import processes
import yaml
from disturbed import HEAD, Disturbed
from mlflow import MlflowClient
from paths import ROOT
from small_dataset import write_dataset

TARGETS = ("trial", "driver", "raylet", "node", "driver", "gcs", "head", "mlflow")
TRIALS = 8
EPOCHS = 6
METRIC = "val/loss"
SPACE = {"train.lr": {"log_uniform": [0.001, 0.1]}, "train.optimizer": {"choice": ["sgd", "adamw"]}}
JUST_S = 1.5
"""What is just after a trial has ended: Ray Tune may not have saved it."""


class Sweeps(Disturbed):
    """Rounds of one sweep."""

    COMMANDS: ClassVar = {"trial": "ray::ImplicitFunc", "raylet": "raylet/raylet ", "gcs": "gcs/gcs_server "}
    FATAL = (*HEAD, "driver")
    SOON_S = 20.0
    STUCK_S = 240.0

    def __init__(self, folder: Path, seed: int, say: Callable[[str], object] = lambda _: None) -> None:
        super().__init__(folder, seed, say)
        self.data = write_dataset(folder / "data", videos=20, flow=False, shard_videos=10)
        self.finished: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """Of each round, the trials that had finished when they were last looked at."""

    def _learn_expected(self) -> None:
        with self._command("undisturbed") as sweep:
            assert sweep.process.wait(local_nodes.LIMIT_S) == 0, sweep.said()
        self.expected = self._table("undisturbed")
        self._check_tracked("undisturbed")

    def _check(self, name: str) -> None:
        assert len(self.finished[name]) == TRIALS, self.finished[name]
        assert self._table(name) == self.expected, (self._table(name), self.expected)
        self._check_tracked(name)

    @contextlib.contextmanager
    def _command(self, name: str) -> Iterator[long_training.Training]:
        recipe = self.folder / f"{name}.yaml"
        train = {"epochs": EPOCHS, "batch_size": 4, "checkpoint_steps": 5, "log_every": 1, "loader_threads": 1}
        search = {"trials": TRIALS, "sampler": "random", "scheduler": "none", "metric": METRIC, "mode": "min"}
        content: dict[str, Any] = {
            "name": name,
            "data": {"dataset": str(self.data), "split": "first"},
            "model": {"name": "tsn", "options": {"tiny": True}},
            "input": {"size": 40, "segments": 8},
            "train": train,
            "search": {**search, "space": SPACE},
        }
        recipe.write_text(yaml.safe_dump(content))
        log = self.work / f"{name}-{time.monotonic_ns()}.log"
        environment = local_nodes.environment(self.cluster)
        environment |= {"RAY_ADDRESS": self.cluster.address, "MAREY_WORK": str(self.work)}
        environment |= {"MLFLOW_TRACKING_URI": self.server.url}
        words = [sys.executable, "-P", "-m", "pipelines", "tune", recipe]
        with (
            log.open("wb") as output,
            processes.started(words, cwd=ROOT, env=environment, limit=3600, stdout=output, stderr=output) as process,
        ):
            yield long_training.Training(name, self.work, log, process)

    def _moment(self, sweep: long_training.Training) -> bool:
        """Wait until some seconds have passed, or just until another trial has ended; False where the sweep has."""
        if self.random.random() < 0.5:
            return self._some_seconds(sweep, self.SOON_S)
        before = len(self._ended(sweep))
        return self._wait(sweep, lambda: len(self._ended(sweep)) > before) and self._some_seconds(sweep, JUST_S)

    def _ended(self, sweep: long_training.Training) -> list[str]:
        """Return the lines about trials that have ended."""
        return re.findall(r"trial \d+/\d+ .*", sweep.said())

    def _reached_words(self, sweep: long_training.Training) -> str:
        return f"{len(self._ended(sweep))} trials"

    def _has_ended(self, sweep: long_training.Training, killed: str) -> bool:
        self.server.start()
        ended = super()._has_ended(sweep, killed)
        assert "marked dead" not in sweep.said(), sweep.said()  # as Ray says it
        return ended

    def _state(self, sweep: long_training.Training) -> tuple[int, ...]:
        progress = self.work.glob(f"runs/{sweep.name}.*/progress.jsonl")
        return (sweep.log.stat().st_size, *sorted(path.stat().st_size for path in progress))

    def _note(self, name: str) -> None:
        """Check that what had finished before has not been trained again, and note what has since."""
        now = long_training.finished_trials(self.work, name)
        assert self.finished[name].items() <= now.items(), (self.finished[name], now)
        self.finished[name] |= now

    def _table(self, name: str) -> list[tuple[str, ...]]:
        """Return the sweep's table in MLflow: what was varied, score, epochs, status; the best first."""
        _, (parent,) = self._runs(f"attributes.run_name = '{name}'")
        (path,) = self.folder.glob(f"mlartifacts/*/{parent.info.run_id}/artifacts/trials.csv")
        with path.open(newline="") as file:
            return [tuple(row[1:]) for row in csv.reader(file)]

    def _check_tracked(self, name: str) -> None:
        """Check that MLflow has the sweep and a run for each trial, all finished, with every step once."""
        client, (parent,) = self._runs(f"attributes.run_name = '{name}'")
        _, children = self._runs(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
        assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
        assert len(children) == TRIALS
        for run in children:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
            assert steps == list(range(1, len(steps) + 1)), (run.info.run_name, steps)
            scores = client.get_metric_history(run.info.run_id, METRIC)
            assert len({point.step for point in scores}) == len(scores) == EPOCHS, (run.info.run_name, scores)

    def _runs(self, words: str) -> tuple[MlflowClient, list[Any]]:
        client = MlflowClient(tracking_uri=self.server.url)
        return client, client.search_runs([each.experiment_id for each in client.search_experiments()], words)
