"""How a worker of a training reaches the others: by Ray Train, or not at all where it trains alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from pipelines.tracking.system import Place

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist
    from ray.train import PreemptionInfo

T = TypeVar("T")


class Team(Protocol):
    """All workers of a training, as one of them sees them."""

    @property
    def place(self) -> Place:
        """Where this worker stands."""

    @property
    def size(self) -> int:
        """Number of workers."""

    @property
    def device(self) -> torch.device:
        """What this worker's network is on."""

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The group of all workers; None for a single one."""

    def from_rank_0(self, value: T | None) -> T:
        """Return the value that rank 0 gives; every worker calls it."""

    def preemption(self) -> PreemptionInfo | None:
        """Return which machines are taken away; every worker calls it, and gets the same."""

    def report(self, metrics: Mapping[str, float], checkpoint: str, write: Callable[[], None] | None) -> None:
        """Hand on the metrics of an epoch or a checkpoint; every worker calls it.

        Args:
            metrics: what the driver is told.
            checkpoint: name of the checkpoint in the run's folder.
            write: what writes it, on rank 0 alone: called by another thread, while training goes on.
        """
