"""A trace of some steps of a training, which Perfetto and chrome://tracing show."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tracking import RunFolder

if TYPE_CHECKING:
    from tasks.learn.batch import Portion, TrainingSource

WARM_UP = 2
"""Steps before those that are recorded."""


@contextmanager
def traced(source: TrainingSource, steps: int, folder: RunFolder) -> Iterator[TrainingSource]:
    """Give a training's source, which records some of its steps by torch.profiler, and write them to the run's folder.

    A step is recorded from the wait for its clips to that of the next. A training that ends before has fewer.
    """
    if steps == 0:
        yield source
        return
    recording = _Recording(source, steps, folder)
    try:
        yield recording
    finally:
        recording.end()


class _Recording:
    """A source that starts and stops the profiler between the steps that it gives."""

    def __init__(self, source: TrainingSource, steps: int, folder: RunFolder) -> None:
        self.steps, self.label_counts = source.steps, source.label_counts
        self._source, self._last, self._folder = source, WARM_UP + steps, folder
        self._given = 0
        self._profiler: Any = None

    def batches(self, epoch: int, rank: int, world: int, start_step: int) -> Generator[Portion, None, None]:
        with closing(self._source.batches(epoch, rank, world, start_step)) as portions:
            while True:
                if self._given == WARM_UP:
                    self.begin()
                elif self._given == self._last:
                    self.end()
                portion = next(portions, None)
                if portion is None:
                    return
                self._given += 1
                yield portion

    def begin(self) -> None:
        from torch.profiler import profile

        if self._profiler is None:
            self._profiler = profile()
            self._profiler.start()

    def end(self) -> None:
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, self._folder.TRACE)
            profiler.export_chrome_trace(str(file))
            self._folder.write_trace(file.read_bytes())
