"""A training of one worker on this machine alone: in the driver's own process, without Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from pipelines.errors import user_error
from pipelines.tracking.system import Place
from pipelines.train.stopping import Stopping
from pipelines.train.worker import Job, train_as_worker

if TYPE_CHECKING:
    import torch

    from tasks.data import Dataset

T = TypeVar("T")
OnReport = Callable[[Mapping[str, float]], None]
log = logging.getLogger(__name__)


class Alone:
    """A team of one, whose checkpoints a thread of its own writes while the context is open."""

    size = 1
    group = None
    place = Place(rank=0, local_rank=0, several_machines=False, address="127.0.0.1")

    def __init__(self, device: torch.device, on_report: OnReport | None) -> None:
        self.device = device
        self.checkpoints = 0
        """How many it has begun to write."""
        self._on_report = on_report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="marey-checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Alone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self._raise_refusal()

    def from_rank_0(self, value: T | None) -> T:
        """Return the value: there is nobody else."""
        assert value is not None
        return value

    def preemption(self) -> None:
        """Return None: nothing announces that this machine is taken away."""

    def report(self, metrics: Mapping[str, float], checkpoint: str, write: Callable[[], None] | None) -> None:
        """Tell whoever wants to hear of it, and write the checkpoint beside training."""
        if write is not None:
            self._raise_refusal()
            self.checkpoints += 1
            self._writing = self._thread.submit(write)
        if self._on_report is not None:
            self._on_report(metrics)

    def _raise_refusal(self) -> None:
        if self._writing is not None:
            self._writing.result()


def fit_alone(job: Job, dataset: Dataset, on_report: OnReport | None, console: AbstractContextManager[object]) -> bool:
    """Train in this thread; return whether training came to its end: it does not where the user stops it.

    An error that may not come again is answered with a restart from the last checkpoint, as Ray Train does it:
    `compute.max_failures` times without a checkpoint in between.

    Args:
        job: what a worker is told.
        dataset: the one that the job names.
        on_report: called with the metrics of each epoch and checkpoint.
        console: shows the progress while its context is open.
    """
    with Stopping(job.folder, alone=True), console:
        return _fit(job, dataset, on_report)


def _fit(job: Job, dataset: Dataset, on_report: OnReport | None) -> bool:
    import torch

    device = torch.device("cuda", 0) if job.recipe.compute.gpus_per_worker else torch.device("cpu")
    failures = 0
    while True:
        team = Alone(device, on_report)
        try:
            with _own_threads(), team:
                return train_as_worker(job, team, dataset)
        except Exception as error:
            failures = 1 if team.checkpoints else failures + 1
            if user_error(error) is not None or failures > job.recipe.compute.max_failures:
                raise
            log.warning("the training goes on from its last checkpoint after %s: %s", type(error).__name__, error)


@contextmanager
def _own_threads() -> Iterator[None]:
    """Leave torch's number of threads as it was: the process is not the training's alone."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
