"""Trainings on several hosts: MLflow's server on the head, `marey train` on any of them, and what must come of it."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from functools import cached_property

import hosts
import long_training
import psutil

EPOCHS = 14
STEPS = 25 * EPOCHS
TRAIN = {"batch_size": 8, "micro_batches": 4, "checkpoint_steps": 5}
"""Four shares a step, whoever computes them."""
MODEL = {"name": "tsn", "options": {"tiny": True, "dropout": 0.5}}
PORT = 5000
SOON = {
    "RAY_health_check_initial_delay_ms": 1000,
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 3000,
    "RAY_health_check_failure_threshold": 3,
}
"""Of the head, as in docs/clusters.md: about ten seconds of silence are enough."""
LIMIT_S = 300.0


class Training(long_training.Training):
    """A command that trains on the hosts."""

    def say(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has said so often what matches, and return the last of it."""
        self.until(lambda: len(re.findall(pattern, self.said())) >= times, LIMIT_S)
        return list(re.finditer(pattern, self.said()))[-1]

    def send(self, number: int) -> None:
        """Send a signal to the command, which is the child of the process that put it on its host."""
        (command,) = psutil.Process(self.process.pid).children()
        command.send_signal(number)

    def end(self) -> None:
        """Wait for its end, which must be a good one."""
        assert self.process.wait(LIMIT_S) == 0, self.said()
        assert "Traceback" not in self.said()


class Trainings:
    """A cluster whose head has no CPU to train on, and trainings of one recipe on it, each with a name of its own."""

    def __init__(self, network: hosts.Network) -> None:
        self.network = network
        self.work = network.folder / "work"
        self.database = f"sqlite:///{network.folder / 'mlflow.db'}"

    @property
    def head(self) -> hosts.Host:
        """The host with Ray's head and MLflow's server."""
        return self.network.hosts[0]

    @property
    def url(self) -> str:
        """Address of MLflow's server."""
        return f"http://{self.head.address}:{PORT}"

    def start_head(self) -> None:
        """Start Ray's head, which soon notices that a host is silent."""
        self.head.start_ray(cpus=0, **SOON)

    def join(self) -> hosts.Host:
        """Add a host with a CPU to train on to the cluster."""
        host = self.network.add()
        host.start_ray()
        return host

    @staticmethod
    def workers(host: hosts.Host) -> int:
        """Return how many workers train on a host."""
        return sum("RayTrainWorker" in " ".join(process.cmdline()) for process in host.members())

    @contextlib.contextmanager
    def mlflow(self) -> Iterator[None]:
        """Run MLflow's server on the head."""
        words = [sys.executable, "-P", "-m", "mlflow", "server", "--workers", "1", "--host", self.head.address]
        words += ["--port", str(PORT), "--allowed-hosts", f"{self.head.address}:{PORT}"]
        words += ["--backend-store-uri", self.database]
        words += ["--artifacts-destination", str(self.network.folder / "mlartifacts")]
        log = self.network.folder / "mlflow.log"
        with self.head.started(words, log, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false") as server:
            ask = f"import urllib.request; urllib.request.urlopen({self.url + '/health'!r}, timeout=60)"
            deadline = time.monotonic() + hosts.UP_S
            while self.head.run([sys.executable, "-c", ask]).returncode:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
            yield

    @contextlib.contextmanager
    def started(self, name: str, *, on: hosts.Host | None = None, **compute: object) -> Iterator[Training]:
        """Give the command of a training on a host, the head by default; the same name is the same training."""
        recipe = long_training.write(self.network.folder, epochs=EPOCHS, name=name, model=MODEL, train=TRAIN, **compute)
        host = on or self.head
        log = self.network.folder / f"{name}-{time.monotonic_ns()}.log"
        there = {"RAY_ADDRESS": self.network.head, "MLFLOW_TRACKING_URI": self.url}
        with host.started(long_training.command(recipe), log, **there) as process:
            yield Training(name, self.work, log, process)

    @cached_property
    def undisturbed(self) -> str:
        """Sha256 of the weights of a training by one worker that nothing happens to."""
        with self.started("undisturbed") as training:
            training.end()
        return long_training.weights(self.work, "undisturbed")

    def check(self, name: str) -> None:
        """Check that a training has ended with the bits of the undisturbed one, in one run with every step once."""
        assert long_training.weights(self.work, name) == self.undisturbed
        long_training.check_tracked(self.database, long_training.chosen(self.work, name), STEPS, name)
