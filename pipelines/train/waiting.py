"""Says what a training waits for: a thread of the driver that watches the cluster while Ray Train waits in silence."""

from __future__ import annotations

import logging
import time

from cluster import ray_internals
from pipelines.compute import capacity
from pipelines.compute.beside import Beside
from pipelines.recipe import ComputeSettings
from tasks.words import counted

log = logging.getLogger(__name__)

POLL_S = 1.0
AFTER_S = 5.0
"""Seconds without workers after which the first line comes."""
EVERY_S = 60.0
"""Seconds between two lines."""


class Waiting(Beside):
    """Logs lost machines, and what the workers wait for, while its context is open."""

    def __init__(self, compute: ComputeSettings) -> None:
        super().__init__("waiting")
        self._compute = compute
        self._nodes = capacity.nodes()
        self._since: float | None = time.time()
        self._told = 0.0

    def are_workers_running(self) -> bool:
        """Return whether there are workers, or were a moment ago."""
        return self._since is None or ray_internals.has_placed_group()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self._tell_lost()
            if ray_internals.has_placed_group():
                self._since = None
            else:
                self._tell_waiting()

    def _tell_lost(self) -> None:
        before, self._nodes = self._nodes, capacity.nodes()
        if before.keys() != self._nodes.keys():
            ray_internals.recount_nodes()
        for address in sorted({*before.values()} - {*self._nodes.values()}):
            log.warning("lost the machine %s; the training goes on from its last checkpoint on those left", address)

    def _tell_waiting(self) -> None:
        now = time.time()
        if self._since is None:
            self._since, self._told = now, 0.0
        if now - self._since >= AFTER_S and now - self._told >= EVERY_S:
            line = waiting_line(
                self._compute, capacity.current_resources(), capacity.free_resources(), self._since, now
            )
            if line is not None:
                log.warning("%s", line)
                self._told = now


def waiting_line(
    compute: ComputeSettings, have: dict[str, float], free: dict[str, float], since: float, now: float
) -> str | None:
    """Return what a training without workers waits for; None where there is room, and Ray only has to start them."""
    each = capacity.worker_resources(compute)
    kind = next((kind for kind, need in each.items() if compute.fewest * need > free.get(kind, 0.0)), None)
    if kind is None:
        return None
    there, left = have.get(kind, 0.0), free.get(kind, 0.0)
    held = f", of which other work holds {there - left:g}" if there > left else ""
    fit = int(min(free.get(name, 0.0) // need for name, need in each.items()))
    fewer = f"with `--workers {fit}`" if fit else "later"
    begun = time.strftime("%H:%M:%S", time.localtime(since))
    workers = counted(compute.fewest, "worker")
    return (
        f"waiting since {begun} ({now - since:.0f} s) for room for {workers} with {each[kind]:g} {kind} each: the "
        f"cluster has {there:g} {kind}{held}; it goes on by itself when there is enough; or stop it, and go on {fewer} "
        "by the same command"
    )
