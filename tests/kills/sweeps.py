"""Sweeps under kill -9: trials, Ray's processes, nodes, the driver and MLflow's server die at random moments.

After each kill that ends the driver the same command is given again. In the end the table of trials equals that of an
undisturbed sweep, no trial that had finished before a kill was touched again, and no run in MLflow is left running.
"""

from __future__ import annotations

import contextlib
import csv
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import local_nodes
import long_training
import processes
import yaml
from mlflow import MlflowClient
from mlflow_server import Server
from paths import ROOT
from small_dataset import write_dataset
from strike import strike
from tally import Tally

from cluster import local

TARGETS = ("trial", "driver", "raylet", "node", "driver", "gcs", "head", "mlflow")
COMMANDS = {"trial": "ray::ImplicitFunc", "raylet": "raylet/raylet ", "gcs": "gcs/gcs_server "}
"""Words in the command of what is no node."""
NODES = 3
TRIALS = 8
EPOCHS = 6
METRIC = "val/loss"
SPACE = {"train.lr": {"log_uniform": [0.001, 0.1]}, "train.optimizer": {"choice": ["sgd", "adamw"]}}
SOON_S = 20.0
"""A command has its first trials under way within about as many seconds."""
JUST_S = 1.5
"""What is just after a trial has ended: Ray Tune may not have saved it."""
STUCK_S = 240.0
"""Seconds without a word and without a step after which a sweep is stuck."""
HEAD = ("head", "gcs")
"""What a cluster does not outlive."""
FATAL = (*HEAD, "driver")
"""What a command does not outlive."""


class Sweeps:
    """Rounds of one sweep, each under another name and disturbed until it has had its kills, within a context."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], object] = lambda _: None) -> None:
        self.folder, self.random, self.say = folder, Random(seed), say
        self.work = folder / "work"
        self.work.mkdir()
        self.data = write_dataset(folder / "data", videos=20, flow=False, shard_videos=10)
        self.tally = Tally()
        self.server = Server(folder)

    def __enter__(self) -> Sweeps:
        self.cluster = local.up(self.work, nodes=NODES, cpus_per_node=1)
        try:
            self.server.start()
            with self._command("undisturbed") as sweep:
                assert sweep.process.wait(local_nodes.LIMIT_S) == 0, sweep.said()
            self.expected = self._table("undisturbed")
            self._check_tracked("undisturbed")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.server.close()
        local.down(self.work)

    def round(self, targets: list[str]) -> list[str]:
        """Search while the targets die one after the other; return those for which it has not lasted long enough."""
        name, todo = f"round-{self.tally.rounds}", list(targets)
        self.tally.rounds += 1
        finished: dict[str, int] = {}
        done = False
        while not done:
            self._mend()
            with self._command(name) as sweep:
                self.tally.commands += 1
                killed = ""
                while todo and killed not in FATAL and self._moment(sweep):
                    self._note_finished(name, finished)
                    if self._kill(todo[0], sweep):
                        killed = todo.pop(0)
                        self.tally.kills[killed] += 1
                        self.say(f"{killed} killed after {len(self._ended(sweep))} trials of {name}")
                        if killed not in FATAL:
                            self._join()
                done = self._has_ended(sweep, killed)
            if killed in HEAD:
                self._renew()
        self._note_finished(name, finished)
        assert len(finished) == TRIALS, finished
        assert self._table(name) == self.expected, (self._table(name), self.expected)
        self._check_tracked(name)
        return todo

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

    def _mend(self) -> None:
        """Have all nodes, and MLflow's server, for the next command."""
        self._mend_nodes()
        self.server.start()

    def _mend_nodes(self) -> None:
        while len(self.cluster.running()) < NODES:
            local_nodes.join(self.work, self.cluster)

    def _renew(self) -> None:
        """Have another cluster: one whose head is lost is lost."""
        local.down(self.work)
        self.cluster = local.up(self.work, nodes=NODES, cpus_per_node=1)

    def _join(self) -> None:
        """Have MLflow's server come back, and nodes join, or not."""
        if self.random.random() < 0.5:
            self.server.start()
        if self.random.random() < 0.7:
            self._mend_nodes()

    def _moment(self, sweep: long_training.Training) -> bool:
        """Wait until some seconds have passed, or just until another trial has ended; False where the sweep has."""
        if self.random.random() < 0.5:
            later = time.monotonic() + self.random.uniform(0, SOON_S)
            return self._wait(sweep, lambda: time.monotonic() >= later)
        before = len(self._ended(sweep))
        if not self._wait(sweep, lambda: len(self._ended(sweep)) > before):
            return False
        later = time.monotonic() + self.random.uniform(0, JUST_S)
        return self._wait(sweep, lambda: time.monotonic() >= later)

    def _ended(self, sweep: long_training.Training) -> list[str]:
        """Return the lines about trials that have ended."""
        return re.findall(r"trial \d+/\d+ .*", sweep.said())

    def _kill(self, target: str, sweep: long_training.Training) -> bool:
        """Kill one process of the kind, if there is one."""
        if target == "driver":
            sweep.process.kill()
            return True
        if target == "mlflow":
            return self.server.kill()
        return strike(self.cluster, target, COMMANDS.get(target, ""), self.random)

    def _has_ended(self, sweep: long_training.Training, killed: str) -> bool:
        """Wait for the end of a command, which must be a good one or one line; return whether the sweep has ended."""
        self.server.start()
        self._wait(sweep, lambda: False)
        code, said = sweep.process.returncode, sweep.said()
        assert "Traceback" not in said, said
        assert "marked dead" not in said, said  # as Ray says it
        if killed == "driver" and code == -signal.SIGKILL:
            return False
        if code != 0:
            assert (code, said.splitlines()[-1][:7]) == (2, "marey: "), said
            self.say(said.splitlines()[-1])
        return code == 0

    def _wait(self, sweep: long_training.Training, is_time: Callable[[], bool]) -> bool:
        """Wait until it is time, or the command has ended, which must go on meanwhile; return whether it runs."""
        state, since = self._state(sweep), time.monotonic()
        while sweep.process.poll() is None:
            if is_time():
                return True
            if (now := self._state(sweep)) != state:
                state, since = now, time.monotonic()
            assert time.monotonic() - since < STUCK_S, sweep.said()
            time.sleep(0.05)
        return False

    def _state(self, sweep: long_training.Training) -> tuple[int, ...]:
        """Return what changes while a sweep goes on."""
        progress = self.work.glob(f"runs/{sweep.name}.*/progress.jsonl")
        return (sweep.log.stat().st_size, *sorted(path.stat().st_size for path in progress))

    def _note_finished(self, name: str, finished: dict[str, int]) -> None:
        """Check that what had finished before has not been trained again, and note what has since."""
        now = long_training.finished_trials(self.work, name)
        assert finished.items() <= now.items(), (finished, now)
        finished |= now

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
