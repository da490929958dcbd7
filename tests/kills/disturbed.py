"""What campaigns of kills on a local cluster have in common: commands that die, are given again, and must end well."""

from __future__ import annotations

import contextlib
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Self

import local_nodes
import long_training
from mlflow_server import Server
from strike import strike
from tally import Tally

from cluster import local

NODES = 3
HEAD = ("head", "gcs")
"""What a cluster does not outlive."""


class Disturbed(ABC):
    """Rounds of one command, each under another name and disturbed until it has had its kills, within a context."""

    COMMANDS: ClassVar[dict[str, str]]
    """Words in the command of what is no node."""
    FATAL: ClassVar[tuple[str, ...]]
    """What a command does not outlive."""
    SOON_S: ClassVar[float]
    """A command has its processes under way, or under way again, within about as many seconds."""
    STUCK_S: ClassVar[float]
    """Seconds without a change after which a command is stuck."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], object] = lambda _: None) -> None:
        self.folder, self.random, self.say = folder, Random(seed), say
        self.work = folder / "work"
        self.work.mkdir()
        self.tally = Tally()
        self.server = Server(folder)

    def __enter__(self) -> Self:
        self._renew()
        try:
            self.server.start()
            self._learn_expected()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.server.close()
        local.down(self.work)

    def round(self, targets: list[str]) -> list[str]:
        """Go on while the targets die one after the other; return those for which it has not lasted long enough."""
        name, todo = f"round-{self.tally.rounds}", list(targets)
        self.tally.rounds += 1
        done = False
        while not done:
            self._mend()
            with self._command(name) as command:
                self.tally.commands += 1
                killed = ""
                while todo and killed not in self.FATAL and self._moment(command):
                    self._note(name)
                    if self._kill(todo[0], command):
                        killed = todo.pop(0)
                        self.tally.kills[killed] += 1
                        self.say(f"{killed} killed after {self._reached_words(command)} of {name}")
                        if killed not in self.FATAL:
                            self._join()
                done = self._has_ended(command, killed)
            if killed in HEAD:
                local.down(self.work)
                self._renew()
        self._note(name)
        self._check(name)
        return todo

    @abstractmethod
    def _learn_expected(self) -> None:
        """Run the command undisturbed, and keep what it comes to."""

    @abstractmethod
    def _command(self, name: str) -> contextlib.AbstractContextManager[long_training.Training]:
        """Return a context in which the command of a round runs."""

    @abstractmethod
    def _moment(self, command: long_training.Training) -> bool:
        """Wait for a moment to kill at; return False where the command has ended before."""

    @abstractmethod
    def _state(self, command: long_training.Training) -> Any:
        """Return what changes while a command goes on."""

    @abstractmethod
    def _reached_words(self, command: long_training.Training) -> str:
        """Return how far it is, in words."""

    @abstractmethod
    def _check(self, name: str) -> None:
        """Check what a round has come to."""

    def _note(self, name: str) -> None:  # noqa: B027 - not every campaign has something to keep
        """Note before each kill, and at the end, what must stay as it is."""

    def _went_on(self, before: Any, now: Any) -> bool:
        return bool(now != before)

    def _mend(self) -> None:
        """Have all nodes, and MLflow's server, for the next command."""
        self._mend_nodes()
        self.server.start()

    def _mend_nodes(self) -> None:
        while len(self.cluster.running()) < NODES:
            local_nodes.join(self.work, self.cluster)

    def _renew(self) -> None:
        """Have a cluster: one whose head is lost is lost."""
        self.cluster = local.up(self.work, nodes=NODES, cpus_per_node=1)

    def _join(self) -> None:
        """Have MLflow's server come back, and nodes join, or not."""
        if self.random.random() < 0.5:
            self.server.start()
        if self.random.random() < 0.7:
            self._mend_nodes()

    def _some_seconds(self, command: long_training.Training, most: float) -> bool:
        """Wait up to so many seconds, at random; return whether it still runs."""
        later = time.monotonic() + self.random.uniform(0, most)
        return self._wait(command, lambda: time.monotonic() >= later)

    def _kill(self, target: str, command: long_training.Training) -> bool:
        """Kill one process of the kind, if there is one."""
        if target == "driver":
            command.process.kill()
            return True
        if target == "mlflow":
            return self.server.kill()
        return strike(self.cluster, target, self.COMMANDS.get(target, ""), self.random)

    def _has_ended(self, command: long_training.Training, killed: str) -> bool:
        """Wait for the end of a command, which must be a good one or one line; return whether its work is done."""
        self._wait(command, lambda: False)
        code, said = command.process.returncode, command.said()
        assert "Traceback" not in said, said
        if killed == "driver" and code == -signal.SIGKILL:
            return False
        if code != 0:
            assert (code, said.splitlines()[-1][:7]) == (2, "marey: "), said
            self.say(said.splitlines()[-1])
        return code == 0

    def _wait(self, command: long_training.Training, is_time: Callable[[], bool]) -> bool:
        """Wait until it is time, or the command has ended, which must go on meanwhile; return whether it runs."""
        state, since = self._state(command), time.monotonic()
        while command.process.poll() is None:
            if is_time():
                return True
            if self._went_on(state, now := self._state(command)):
                state, since = now, time.monotonic()
            assert time.monotonic() - since < self.STUCK_S, command.said()
            time.sleep(0.05)
        return False
