"""Trainings under kill -9: workers, Ray's processes, nodes, the driver and MLflow's server die at random moments.

After each kill that ends the driver the same command is given again. Nodes join in place of those that were killed, so
that the workers become fewer and more. In the end the weights are, bit by bit, those of one undisturbed worker, in one
MLflow run that has every step once.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import local_nodes
import long_training
from host_training import MODEL, TRAIN
from mlflow_server import Server
from strike import strike
from tally import Tally

from cluster import local

TARGETS = ("worker", "controller", "raylet", "node", "gcs", "head", "driver", "mlflow")
COMMANDS = {
    "worker": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "raylet": "raylet/raylet ",
    "gcs": "gcs/gcs_server ",
}
"""Words in the command of what is no node."""
NODES = 3
EPOCHS = 8
STEPS = 25 * EPOCHS
SOON_S = 12.0
"""A command starts its workers, or starts them again, within about as many seconds."""
FAR = 60
"""Steps between two kills, at most."""
STUCK_S = 150.0
"""Seconds without a new step after which a training is stuck; Ray keeps what a dead one has reserved for longer."""
HEAD = ("head", "gcs")
"""What a cluster does not outlive."""
FATAL = (*HEAD, "driver", "controller")
"""What a command does not outlive."""


class Trainings:
    """Rounds of one training, each under another name and disturbed until it has had its kills, within a context."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], object] = lambda _: None) -> None:
        self.folder, self.random, self.say = folder, Random(seed), say
        self.work = folder / "work"
        self.work.mkdir()
        self.tally = Tally()
        self.server = Server(folder)

    def __enter__(self) -> Trainings:
        self.cluster = local.up(self.work, nodes=NODES, cpus_per_node=1)
        try:
            self.server.start()
            with self._command("undisturbed", workers=1) as training:
                self.expected = training.end()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.server.close()
        local.down(self.work)

    def round(self, targets: list[str]) -> list[str]:
        """Train while the targets die one after the other; return those for which it has not lasted long enough."""
        name, todo = f"round-{self.tally.rounds}", list(targets)
        self.tally.rounds += 1
        done = False
        while not done:
            self._mend()
            with self._command(name, workers=[1, NODES], resize_every_s=2) as training:
                self.tally.commands += 1
                killed = ""
                while todo and killed not in FATAL and self._moment(training):
                    if self._kill(todo[0], training):
                        killed = todo.pop(0)
                        self.tally.kills[killed] += 1
                        self.say(f"{killed} killed after step {self._reached(training)} of {name}")
                        if killed not in FATAL:
                            self._join()
                done = self._ended(training, killed)
            if killed in HEAD:
                self._renew()
        assert long_training.weights(self.work, name) == self.expected, name
        run = long_training.chosen(self.work, name)
        long_training.check_tracked(self.server.database, run, STEPS, name)
        return todo

    def _command(self, name: str, **compute: object) -> contextlib.AbstractContextManager[local_nodes.Training]:
        recipe = long_training.write(self.folder, epochs=EPOCHS, name=name, model=MODEL, train=TRAIN, **compute)
        return local_nodes.training(self.work, self.cluster, recipe, MLFLOW_TRACKING_URI=self.server.url)

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

    def _moment(self, training: local_nodes.Training) -> bool:
        """Wait until some steps, or some seconds, have passed: also while workers start; False where it has ended."""
        if self.random.random() < 0.5:
            later = time.monotonic() + self.random.uniform(0, SOON_S)
            return self._wait(training, lambda: time.monotonic() >= later)
        step = min(STEPS, self._reached(training) + self.random.randint(1, FAR))
        return self._wait(training, lambda: self._reached(training) >= step)

    def _kill(self, target: str, training: local_nodes.Training) -> bool:
        """Kill one process of the kind, if there is one."""
        if target == "driver":
            training.process.kill()
            return True
        if target == "mlflow":
            return self.server.kill()
        return strike(self.cluster, target, COMMANDS.get(target, ""), self.random)

    def _join(self) -> None:
        """Have MLflow's server come back, and nodes join, or not."""
        if self.random.random() < 0.5:
            self.server.start()
        if self.random.random() < 0.7:
            self._mend_nodes()

    def _ended(self, training: local_nodes.Training, killed: str) -> bool:
        """Wait for the end of a command, which must be a good one or one line; return whether it has trained."""
        self._wait(training, lambda: False)
        code, said = training.process.returncode, training.said()
        assert "Traceback" not in said, said
        if killed == "driver" and code == -signal.SIGKILL:
            return False
        if code != 0:
            assert (code, said.splitlines()[-1][:7]) == (2, "marey: "), said
            self.say(said.splitlines()[-1])
        return code == 0

    def _wait(self, training: local_nodes.Training, is_time: Callable[[], bool]) -> bool:
        """Wait until it is time, or the command has ended, which must go on meanwhile; return whether it runs."""
        step, since = self._reached(training), time.monotonic()
        while training.process.poll() is None:
            if is_time():
                return True
            if (now := self._reached(training)) > step:
                step, since = now, time.monotonic()
            assert time.monotonic() - since < STUCK_S, training.said()
            time.sleep(0.05)
        return False

    def _reached(self, training: local_nodes.Training) -> int:
        return long_training.reached(self.work, training.name)
