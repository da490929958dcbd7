"""Trainings on several hosts, MLflow's server on one of them, and what must come of a training."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import hosts
import long_training
import psutil
import s3

EPOCHS = 14
STEPS = 25 * EPOCHS
TRAIN = {"batch_size": 8, "micro_batches": 4, "checkpoint_steps": 5}
"""Four shares a step, whoever computes them."""
MODEL = {"name": "tsn", "options": {"tiny": True, "dropout": 0.5}}
PORT = 5000
S3_PORT = 9000
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

    def step_after(self, workers: int, times: int = 1) -> int:
        """Return the last of the steps after which it has gone on, so often, with so many workers."""
        return int(self.say(rf"going on with {workers} workers? after step (\d+)", times)[1])

    def send(self, number: int) -> None:
        """Send a signal to the command, which is the child of the process that put it on its host."""
        (command,) = psutil.Process(self.process.pid).children()
        command.send_signal(number)

    def end(self, code: int = 0) -> str:
        """Wait for its end, which must have this exit code; return the last line."""
        assert self.process.wait(LIMIT_S) == code, self.said()
        assert "Traceback" not in self.said()
        return self.said().splitlines()[-1]


class Trainings:
    """A cluster whose head has no CPU to train on, and trainings of one recipe on it, each with a name of its own."""

    def __init__(self, network: hosts.Network) -> None:
        self.network = network
        self._server: contextlib.ExitStack | None = None
        self.work = network.folder / "work"
        self.database = f"sqlite:///{network.folder / 'mlflow.db'}"
        network.environment |= s3.environment(f"http://{self.head.address}:{S3_PORT}")

    @property
    def head(self) -> hosts.Host:
        """The host with Ray's head and MLflow's server."""
        return self.network.hosts[0]

    @property
    def url(self) -> str:
        """Address of MLflow's server."""
        return f"http://{self.head.address}:{PORT}"

    @contextlib.contextmanager
    def up(self, limits: Mapping[str, object]) -> Iterator[None]:
        """Run Ray's head, with limits for a silent host, and MLflow's server."""
        self.head.start_ray(cpus=0, **limits)
        try:
            self.start_mlflow()
            yield
        finally:
            self.stop_mlflow()

    def join(self) -> hosts.Host:
        """Add a host with a CPU to train on to the cluster."""
        host = self.network.add()
        host.start_ray()
        return host

    def pair(self) -> list[hosts.Host]:
        """Return the two hosts that train; new ones are in the places of those that are lost."""
        for host in list(self.network.hosts):
            host.settle()
        while len(self.network.hosts) < 3:
            self.join()
        return self.network.hosts[1:]

    def controller_logs(self) -> set[Path]:
        """Return the logs of the controllers of all trainings so far, on all hosts."""
        return set(self.network.folder.glob("host-*/ray/session_2*/logs/train/*-sys-controller-*.log"))

    def start_mlflow(self) -> None:
        """Start MLflow's server, if it does not run."""
        if self._server is None:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self._mlflow())
                self._server = stack.pop_all()

    def stop_mlflow(self) -> None:
        """End MLflow's server, if it runs."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @contextlib.contextmanager
    def _mlflow(self) -> Iterator[None]:
        words = [sys.executable, "-P", "-m", "mlflow", "server", "--workers", "1", "--host", self.head.address]
        words += ["--port", str(PORT), "--allowed-hosts", f"{self.head.address}:{PORT}"]
        words += ["--backend-store-uri", self.database]
        words += ["--artifacts-destination", str(self.network.folder / "mlartifacts")]
        log = self.network.folder / "mlflow.log"
        with self.head.started(words, log, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false") as server:
            self._wait_for(f"{self.url}/health", server, log)
            yield

    @contextlib.contextmanager
    def object_store(self) -> Iterator[None]:
        """Run an S3 API on the head, with a bucket `marey`."""
        words = [sys.executable, "-P", "-m", "moto.server", "-H", self.head.address, "-p", str(S3_PORT)]
        log = self.network.folder / "moto.log"
        with self.head.started(words, log) as server:
            self._wait_for(f"http://{self.head.address}:{S3_PORT}", server, log)
            self.on_head("import fsspec; fsspec.filesystem('s3').mkdir('marey')")
            yield

    def on_head(self, code: str) -> None:
        """Run Python on the head."""
        done = self.head.run([sys.executable, "-P", "-c", code])
        assert done.returncode == 0, done.stderr

    def _wait_for(self, url: str, server: subprocess.Popen[bytes], log: Path) -> None:
        ask = f"import urllib.request; urllib.request.urlopen({url!r}, timeout=60)"
        deadline = time.monotonic() + hosts.UP_S
        while self.head.run([sys.executable, "-c", ask]).returncode:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()

    @contextlib.contextmanager
    def started(
        self, name: str, *, on: hosts.Host | None = None, work: str | None = None, **compute: object
    ) -> Iterator[Training]:
        """Give the command of a training; the same name is the same training.

        Args:
            name: its name.
            on: the host that it is given on; None is the head.
            work: address of its workspace; None is the folder that all hosts see.
            compute: section of the recipe.
        """
        recipe = long_training.write(self.network.folder, epochs=EPOCHS, name=name, model=MODEL, train=TRAIN, **compute)
        host = on or self.head
        log = self.network.folder / f"{name}-{time.monotonic_ns()}.log"
        there = {"RAY_ADDRESS": self.network.head, "MLFLOW_TRACKING_URI": self.url}
        if work is not None:
            there["MAREY_WORK"] = work
        with host.started(long_training.command(recipe), log, **there) as process:
            yield Training(name, self.work, log, process)

    @cached_property
    def undisturbed(self) -> str:
        """Sha256 of the weights of a training by one worker that nothing happens to."""
        with self.started("undisturbed") as training:
            training.end()
        return long_training.weights(self.work, "undisturbed")

    def check(self, name: str, work: Path | None = None) -> None:
        """Check that a training has ended with the bits of the undisturbed one, in one run with every step once.

        Args:
            name: its name.
            work: a copy of its workspace; None is the folder that all hosts see.
        """
        work = work or self.work
        assert long_training.weights(work, name) == self.undisturbed
        long_training.check_tracked(self.database, long_training.chosen(work, name), STEPS, name)
