"""CPU, memory, disk, network and GPU of every machine of a training, on their way to MLflow.

The process of rank 0 alone writes to MLflow. On other machines one worker puts what it measures into the run's outbox,
and rank 0 sends it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.environment import variables_set
from pipelines.compute.beside import Beside
from pipelines.errors import UserError
from pipelines.tracking import outbox
from pipelines.tracking.outbox import Outbox, Point
from pipelines.tracking.store import prepare_environment

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

SAMPLE_S = 5.0
"""Seconds between two samples, unless MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says otherwise."""
PUT_S = 30.0
"""Seconds between two files from another machine than that of rank 0."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""How long MLflow itself tries a request: what it cannot send, the outbox sends again."""

Add = Callable[[Mapping[str, float], int], object]


@dataclass(frozen=True)
class Place:
    """Where a worker stands in a training."""

    rank: int
    local_rank: int
    """Its number on its machine."""
    several_machines: bool
    address: str
    """Address of its machine, which stands in the names of the metrics where there are several."""


@contextmanager
def outbox_of(
    place: Place, address: str, uri: str, run_id: str, started: float, tell: Callable[[str], object] | None = None
) -> Iterator[Outbox | None]:
    """Give rank 0 the outbox of a run, and have each machine's system metrics sent while the context is open.

    Args:
        place: where this worker stands.
        address: folder of the outbox.
        uri: MLflow's store.
        run_id: the run.
        started: when the run was made, in seconds since 1970: system metrics count the seconds since then as steps.
        tell: as in `Outbox`.
    """
    prefix = f"system/{place.address}/" if place.several_machines else "system/"
    if place.rank == 0:
        monitor = _monitor(uri)  # before the outbox, whose thread would import MLflow at the same time
        with (
            variables_set(PATIENCE),
            Outbox(address, uri, run_id, machines=place.several_machines, tell=tell) as own,
            Sampler(own.add, prefix, started, monitor),
        ):
            yield own
    elif place.local_rank == 0:
        with _Files(address) as files, Sampler(files.add, prefix, started, _monitor(uri)):
            yield None
    else:
        yield None


def _monitor(uri: str) -> SystemMetricsMonitor:
    prepare_environment(os.environ)
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    return SystemMetricsMonitor("", SAMPLE_S, tracking_uri=uri)  # type: ignore[no-untyped-call]


class Sampler(Beside):
    """Measures this machine in a thread while its context is open."""

    def __init__(self, add: Add, prefix: str, started: float, monitor: SystemMetricsMonitor) -> None:
        super().__init__("marey-system-metrics")
        # Its own thread would ask the server before each sample, and end where it does not answer.
        self._monitor = monitor
        self._add, self._prefix, self._started = add, prefix, started

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._monitor.collect_metrics()  # type: ignore[no-untyped-call]
            values = self._monitor.aggregate_metrics()  # type: ignore[no-untyped-call]
            for monitor in self._monitor.monitors:
                monitor.clear_metrics()  # type: ignore[no-untyped-call]
            named = {self._prefix + key: value for key, value in values.items()}
            try:
                self._add(named, int(time.time() - self._started))
            except UserError:  # raised where the training adds its metrics, too
                return
            self._stop.wait(self._monitor.sampling_interval)


class _Files:
    """Puts points into an outbox that another process sends, every half minute."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._points: list[Point] = []
        self._put = time.monotonic()

    def add(self, values: Mapping[str, float], step: int) -> None:
        self._points += outbox.points(values, step)
        if time.monotonic() - self._put >= PUT_S:
            self._flush()

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._points:
            outbox.put(self._address, self._points)
        self._points, self._put = [], time.monotonic()
