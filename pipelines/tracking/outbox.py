"""Metrics on their way to MLflow: a thread sends them, and what a server that is away cannot take waits in files.

The files lie in the run's folder, in the order of their names; the next process that opens the outbox sends them first.
Points keep the time at which they were added, and MLflow is never sent a step of a metric that is not after the last
one it has: so they arrive once and in order, whoever dies in between. What is added after the last call of `keep` may
be lost with the process, as the steps since the last checkpoint are, which are then taken again.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple

from cluster.errors import ClusterError
from pipelines.errors import UserError
from pipelines.tracking.failures import no_answer
from pipelines.tracking.store import client
from tasks.data import storage
from tasks.remote import reason

FOLDER = "metrics"
"""Folder of a run's folder that holds its outbox."""
BATCH = 1000
"""Most points in a request, which is MLflow's limit, and about as many in memory while the server is away."""
LIMIT = 1_000_000
"""Points that may wait: more than a day of a usual training, 100 MB. Those after are dropped, and counted in a tag."""
DROPPED = "metrics.dropped"
"""Tag of a run with the number of points that were dropped."""
FIRST_S, LONGEST_S = 0.5, 5.0
"""Time before the first attempt to reach a server again, and between two of the later ones."""
TOGETHER_S = 1.0
"""Time between two requests to a server that answers: each takes some 8 ms, in which the training computes less."""
CLOSING_S = 10.0
"""Time for what is left when the context ends."""
ASKED_S = 10.0
"""How often the folder is searched for what other machines put there."""

log = logging.getLogger(__name__)


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    time: int
    """When it was added, in ms since 1970."""
    step: int


def points(values: Mapping[str, float], step: int) -> list[Point]:
    """Return one point of several metrics, taken now."""
    now = int(time.time() * 1000)
    return [Point(key, float(value), now, step) for key, value in values.items()]


def put(address: str, kept: Sequence[Point]) -> None:
    """Add points to the outbox in a folder, as a file behind those that wait there.

    Raises:
        UserError: it cannot be written.
    """
    number = max((int(name.partition("-")[0]) for name in waiting(address)), default=0) + 1
    place = storage.join(address, f"{number:08d}-{secrets.token_hex(4)}.json")
    try:
        storage.make_folder(address)
        storage.publish(place, json.dumps(kept).encode())
    except OSError as error:
        raise UserError(f"{place} cannot be written: {reason(error)}") from error


def waiting(address: str) -> list[str]:
    """Return the names of the files of an outbox, the oldest first."""
    return [name for name, _ in storage.entries(address, missing_ok=True) if name.endswith(".json")]


def count(address: str) -> int:
    """Return how many points wait in the files of an outbox."""
    return sum(len(_read(address, name)) for name in waiting(address))


def send_rest(address: str, uri: str, run_id: str) -> None:
    """Send all that waits in an outbox, whichever processes put it there.

    Raises:
        ClusterError: the store is away.
        UserError: it refuses points of this run for good, or a file is damaged.
    """
    if Outbox(address, uri, run_id).close(CLOSING_S):
        raise no_answer(uri)


def _read(address: str, name: str) -> list[Point]:
    place = storage.join(address, name)
    try:
        return [
            Point(str(key), float(value), int(when), int(step))
            for key, value, when, step in json.loads(storage.read_bytes(place))
        ]
    except FileNotFoundError:  # another process has sent it meanwhile
        return []
    except OSError as error:
        raise UserError(f"{place} cannot be read: {reason(error)}") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{place} is damaged, and holds metrics for MLflow: delete it to go on without them") from error


class Outbox:
    """Sends points to a run of MLflow while its context is open.

    Args:
        address: the folder, local or remote.
        uri: MLflow's store.
        run_id: the run.
        machines: whether processes on other machines put points there too.
        tell: called in its thread with a line where the server is away; None logs it.
    """

    def __init__(
        self,
        address: str,
        uri: str,
        run_id: str,
        *,
        machines: bool = False,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self._address, self._uri, self._run_id, self._machines = address, uri, run_id, machines
        self._tell = tell or log.warning
        self._files = waiting(address)
        self._asked = time.monotonic()
        self._memory: list[Point] = []
        self._spilled = len(self._files) * BATCH
        self._kept_times = 0
        self._dropped = 0
        self._last: dict[str, int] | None = None
        """Last step of each metric that MLflow has; None until it has been asked."""
        self._refused: BaseException | None = None
        self._state = threading.Condition()
        self._closing = False
        self._impatient = threading.Event()
        self._thread = threading.Thread(target=self._work, name="marey-metrics", daemon=True)
        self._thread.start()

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add one point of several metrics; returns at once.

        Raises:
            UserError: MLflow refuses points for this run for good, or a file cannot be written.
        """
        self._raise_refusal()
        with self._state:
            if len(self._memory) + self._spilled + len(values) > LIMIT:
                if not self._dropped:
                    log.warning("more than %d metrics wait for MLflow's server: further ones are dropped", LIMIT)
                self._dropped += len(values)
                return
            self._memory += points(values, step)
            self._state.notify()
            if len(self._memory) >= BATCH:
                self._spill()

    def keep(self) -> None:
        """Write what has not been sent to a file, which outlives this process.

        Raises:
            UserError: as `add`.
        """
        self._raise_refusal()
        with self._state:
            self._spill()

    def close(self, patience: float) -> int:
        """Send what is left, and keep what could not be sent; return how many points that is.

        Args:
            patience: seconds for it.

        Raises:
            UserError: as `add`.
        """
        with self._state:
            self._closing = True
            self._state.notify()
        self._thread.join(patience)
        self._impatient.set()
        self.keep()
        return 0 if not self._files and not self._thread.is_alive() else count(self._address)

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            left = self.close(CLOSING_S if error is None else FIRST_S)
        except UserError as refusal:
            if error is None:
                raise
            log.warning("metrics were not sent: %s", refusal)  # must not hide the error that ended the block
            return
        if left:
            log.info("%d metrics wait in %s", left, self._address)

    def _raise_refusal(self) -> None:
        if self._refused is not None:
            raise self._refused

    def _spill(self) -> None:
        """Move the memory to a file; a batch of it that is being sent is then skipped when the file is."""
        if self._memory:
            put(self._address, self._memory)
            self._spilled += len(self._memory)
            self._memory, self._kept_times = [], self._kept_times + 1
            self._files = waiting(self._address)

    def _work(self) -> None:
        pause, warned = FIRST_S, False
        while True:
            try:
                if not self._wait():
                    return
                self._send_next()
                pause, warned = FIRST_S, False
                with self._state:  # what comes meanwhile goes together, for little more than one report by itself
                    self._state.wait_for(lambda: self._closing or self._files, TOGETHER_S)
            except ClusterError as error:
                if not warned:
                    self._tell(f"metrics wait in {self._address}, and nothing stops: {error}")
                warned = True
                if self._impatient.wait(pause):
                    return
                pause = min(2 * pause, LONGEST_S)
            except BaseException as error:  # noqa: BLE001 - raised by the next call of the process that adds points
                self._refused = error
                return

    def _wait(self) -> bool:
        """Wait until there is something to send; return whether there is, and False at the end."""
        with self._state:
            while not self._files and not self._memory:
                if self._machines and (self._closing or time.monotonic() - self._asked >= ASKED_S):
                    self._find_files()
                    if self._files:
                        break
                if self._closing or self._impatient.is_set():
                    return False
                self._state.wait(ASKED_S if self._machines else None)
            return not self._impatient.is_set()

    def _find_files(self) -> None:
        """Look for what other machines have put into the folder."""
        self._asked = time.monotonic()
        try:
            self._files = waiting(self._address)
        except UserError as error:  # an object store that is away for a moment is asked again
            log.warning("metrics of other machines are not sent yet: %s", error)

    def _send_next(self) -> None:
        """Send the oldest file, or else a batch of what is in memory."""
        with self._state:
            name = self._files[0] if self._files else None
            batch, kept_times = self._memory[:BATCH], self._kept_times
        if name is not None:
            batch = _read(self._address, name)
        self._send(batch)
        if name is not None:
            storage.remove(storage.join(self._address, name))
        with self._state:
            if name is not None:
                self._files = [one for one in self._files if one != name]
                self._spilled = max(0, self._spilled - len(batch)) if self._files else 0
            elif kept_times == self._kept_times:
                del self._memory[: len(batch)]

    def _send(self, batch: Iterable[Point]) -> None:
        from mlflow.entities import Metric, RunTag
        from mlflow.exceptions import MlflowException

        store = client(self._uri)
        try:
            if self._last is None:
                latest = store.get_run(self._run_id).data.to_proto().metrics
                self._last = {metric.key: metric.step for metric in latest}
            last, fresh = dict(self._last), []
            for point in batch:
                if point.step > last.get(point.key, -1):
                    last[point.key] = point.step
                    fresh.append(Metric(point.key, point.value, point.time, point.step))
            for first in range(0, len(fresh), BATCH):
                store.log_batch(self._run_id, metrics=fresh[first : first + BATCH])
            self._last = last
            if self._dropped:
                store.log_batch(self._run_id, tags=[RunTag(DROPPED, str(self._dropped))])
        except MlflowException as error:
            raise UserError(f"MLflow refuses the metrics of run {self._run_id}: {error.message}") from error
