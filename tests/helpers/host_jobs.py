"""Three hosts, `marey mlflow-server` with PostgreSQL on one of them, and what is done on them all."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hosts
import long_training
import numpy as np
import postgres
import relay
import yaml
from mlflow import MlflowClient
from shared_mlflow import Shared, served

from tasks.video.codecs import write_mp4

DASHBOARD = 8265
MLFLOW = 5000
LIMIT_S = 600.0
SOON = {
    "RAY_health_check_initial_delay_ms": 1000,
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 3000,
    "RAY_health_check_failure_threshold": 3,
}
"""Of the head, as in docs/clusters.md: about ten seconds of silence are enough."""


class Job(long_training.Training):
    """A verb sent to the cluster, and followed."""

    def end(self, code: int = 0) -> str:
        """Wait for its end, which must have this exit code; return all that it has said."""
        assert self.process.wait(LIMIT_S) == code, self.said()
        assert "Traceback" not in self.said(), self.said()
        return self.said()


class Site:
    """Hosts, and the MLflow on the second of them that they all write to."""

    def __init__(self, network: hosts.Network, server: Shared, driver: str, port: int) -> None:
        self.network, self._driver, self._port = network, driver, port
        network.environment |= server.variables()
        self.login = {name: value for name, value in server.variables().items() if not name.endswith("_URI")}

    @property
    def work(self) -> Path:
        """The workspace, which all hosts see."""
        return self.network.folder / "work"

    def start_ray(self) -> None:
        """Make them one cluster, with a CPU on each, whose head is the first."""
        for host in self.network.hosts:
            host.start_ray(**(SOON if host.number == 1 else {}))

    @contextlib.contextmanager
    def given(self, verb: str, recipe: Mapping[str, Any], on: int) -> Iterator[Job]:
        """Give `marey VERB RECIPE` on a host by itself."""
        with self._started(recipe, on, lambda path: [verb, path]) as job:
            yield job

    @contextlib.contextmanager
    def submitted(self, verb: str, recipe: Mapping[str, Any]) -> Iterator[Job]:
        """Send `marey VERB RECIPE` to the cluster from its head, and follow it."""
        address = f"http://{self.network.hosts[0].address}:{DASHBOARD}"
        words = ["submit", "--address", address, "--shared", str(self.network.folder), "--", verb]
        with self._started(recipe, 1, lambda path: [*words, path]) as job:
            yield job

    @contextlib.contextmanager
    def _started(self, recipe: Mapping[str, Any], on: int, words: Callable[[str], list[str]]) -> Iterator[Job]:
        name, folder = recipe["name"], self.network.folder
        path, log = folder / f"{name}.yaml", folder / f"{name}-{time.monotonic_ns()}.log"
        path.write_text(yaml.safe_dump(dict(recipe)))
        command = [sys.executable, "-P", "-m", "pipelines", *words(str(path))]
        with self.network.hosts[on - 1].started(command, log) as process:
            yield Job(name, self.work, log, process)

    def rows(self, statement: str) -> list[tuple[str, ...]]:
        """Ask the database, past the server."""
        uri = postgres.address(self._port)
        return postgres.query(self._driver, uri, statement, self.network.hosts[1].command)

    @contextlib.contextmanager
    def mlflow(self) -> Iterator[str]:
        """Give the server's address as this machine reaches it."""
        with relay.reachable(self.network.hosts[1], MLFLOW) as url:
            yield url


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Have three hosts, and start MLflow and its database on the second."""
    driver = postgres.driver(folder)
    with hosts.network(3) as network:
        second = network.hosts[1]
        with postgres.running(second.command) as port:
            words = ["--host", second.address, "--port", str(MLFLOW)]
            words += ["--store", f"postgresql://marey@127.0.0.1:{port}/postgres"]
            with served(*words, on=second, PYTHONPATH=driver, PGPASSWORD=postgres.PASSWORD) as server:
                yield Site(network, server, driver, port)


def write_videos(folder: Path, each: int) -> Path:
    """Write noisy videos of two classes, so many of each."""
    random = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / label).mkdir(parents=True)
        for index in range(each):
            images = random.integers(0, 255, (20, 48, 48, 3), dtype=np.uint8)
            write_mp4(folder / label / f"{index}.mp4", images, 25, crf=30, keyframe_every=6)
    return folder


def runs(url: str) -> dict[str, Any]:
    """Return the runs of all experiments by name, which must be unique."""
    client = MlflowClient(tracking_uri=url)
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    by_name = {run.info.run_name: run for run in found}
    assert len(by_name) == len(found)
    return by_name
