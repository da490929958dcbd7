"""Trainings under kill -9: workers, Ray's processes, nodes, the driver and MLflow's server die at random moments.

After each kill that ends the driver the same command is given again. Nodes join in place of those that were killed, so
that the workers become fewer and more. In the end the weights are, bit by bit, those of one undisturbed worker, in one
MLflow run that has every step once.
"""

from __future__ import annotations

import contextlib
from typing import ClassVar

import local_nodes
import long_training
from disturbed import HEAD, NODES, Disturbed
from host_training import MODEL, TRAIN

TARGETS = ("worker", "controller", "raylet", "node", "gcs", "head", "driver", "mlflow")
EPOCHS = 8
STEPS = 25 * EPOCHS
FAR = 60
"""Steps between two kills, at most."""


class Trainings(Disturbed):
    """Rounds of one training."""

    COMMANDS: ClassVar = {
        "worker": "ray::RayTrainWorker",
        "controller": "ray::TrainController",
        "raylet": "raylet/raylet ",
        "gcs": "gcs/gcs_server ",
    }
    FATAL = (*HEAD, "driver", "controller")
    SOON_S = 12.0
    STUCK_S = 150.0  # Ray keeps what a dead one has reserved for longer

    def _learn_expected(self) -> None:
        with self._training("undisturbed", workers=1) as training:
            self.expected = training.end()

    def _check(self, name: str) -> None:
        assert long_training.weights(self.work, name) == self.expected, name
        run = long_training.chosen(self.work, name)
        long_training.check_tracked(self.server.database, run, STEPS, name)

    def _command(self, name: str) -> contextlib.AbstractContextManager[local_nodes.Training]:
        return self._training(name, workers=[1, NODES], resize_every_s=2)

    def _training(self, name: str, **compute: object) -> contextlib.AbstractContextManager[local_nodes.Training]:
        recipe = long_training.write(self.folder, epochs=EPOCHS, name=name, model=MODEL, train=TRAIN, **compute)
        return local_nodes.training(self.work, self.cluster, recipe, MLFLOW_TRACKING_URI=self.server.url)

    def _moment(self, training: long_training.Training) -> bool:
        """Wait until some steps, or some seconds, have passed: also while workers start; False where it has ended."""
        if self.random.random() < 0.5:
            return self._some_seconds(training, self.SOON_S)
        step = min(STEPS, self._state(training) + self.random.randint(1, FAR))
        return self._wait(training, lambda: self._state(training) >= step)

    def _reached_words(self, training: long_training.Training) -> str:
        return f"step {self._state(training)}"

    def _state(self, training: long_training.Training) -> int:
        return long_training.reached(self.work, training.name)

    def _went_on(self, before: int, now: int) -> bool:
        return now > before
