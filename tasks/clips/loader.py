"""Batches for training and evaluation: clips read ahead by threads, in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from threading import Lock

import cv2
import numpy as np
import torch
from torch import Tensor

from tasks.clips.augment import View, clip_shape, flow_shape
from tasks.clips.clips import crop_view, read_view, train_clip
from tasks.clips.order import RankBatch, deal, epoch_order
from tasks.clips.settings import ClipSettings
from tasks.data.dataset import Dataset
from tasks.data.reader import Sample
from tasks.errors import UserError
from tasks.learn.batch import Batch
from tasks.learn.settings import TrainSettings
from tasks.learn.steps import Step, epoch_steps

BATCHES_AHEAD = 2
"""Batches read ahead while the network works on one: enough to hide a slow batch, in bounded memory."""


class ClipLoader:
    """Loads the training clips of one part of a dataset: every sample once per epoch, over all ranks together."""

    def __init__(self, dataset: Dataset, part: str, clip: ClipSettings, settings: TrainSettings) -> None:
        self.dataset, self.clip, self.settings = dataset, clip, settings
        self.samples = _samples(dataset, part, clip)
        if clip.target == "flow" and dataset.settings.flow == "none":
            raise UserError(
                f"{dataset.uri} was prepared without optical flow, which these clips need beside them: prepare the "
                "videos again, to another folder, with flow=tvl1"
            )

    def steps(self, epoch: int) -> int:
        """Return the number of steps of an epoch, which is the same for any number of workers."""
        return len(epoch_steps(self.settings, epoch, len(self.samples)))

    def batches(self, epoch: int, rank: int, world: int, start_step: int = 0) -> Generator[Batch, None, None]:
        """Yield a rank's batch of each step of an epoch, from `start_step` on."""
        order = epoch_order([sample.shard for sample in self.samples], self.settings.seed, epoch)
        steps = epoch_steps(self.settings, epoch, len(self.samples))
        batches = deal(order, [step.samples for step in steps], rank, world)
        left = list(zip(batches, steps, strict=True))[start_step:]
        planned = (self._planned(batch, step, epoch) for batch, step in left)
        yield from _read_ahead(planned, self.settings.loader_threads)

    def _planned(self, batch: RankBatch, step: Step, epoch: int) -> _PlannedBatch:
        clip = resized(self.clip, step)
        rows = [
            _Row(self.samples[i], partial(train_clip, self.dataset, self.samples[i], clip, epoch), 1.0 - batch.filler)
            for i in batch.indices
        ]
        return _PlannedBatch(rows, batch.count, clip, step.lr)


def resized(clip: ClipSettings, step: Step) -> ClipSettings:
    """Return the clip settings of a step, which may have fewer or smaller frames; dense ones cover the same time."""
    segments = max(1, round(clip.segments * step.frames))
    stride = max(1, round(clip.stride * clip.segments / segments))
    return replace(clip, segments=segments, stride=stride, size=round(clip.size * step.size))


class ViewLoader:
    """Loads the test clips of one part of a dataset: every view of every sample once, over all ranks together.

    All views and pieces of a video go to one rank, so that its scores need no averaging over ranks.
    """

    def __init__(
        self, dataset: Dataset, part: str, clip: ClipSettings, views: list[View], batch_size: int, threads: int = 2
    ) -> None:
        self.dataset, self.views, self.batch_size, self.threads = dataset, views, batch_size, threads
        self.clip = replace(clip, target="none")  # only losses need it
        self.samples = _samples(dataset, part, clip)

    def batches(self, rank: int, world: int) -> Generator[Batch, None, None]:
        """Yield the batches of a rank's own videos; nothing is padded, and a rank may have none."""
        videos = [list(pieces) for _, pieces in groupby(self.samples, key=lambda sample: sample.video_id)]
        # Consecutive videos lie in the same shards.
        own = videos[len(videos) * rank // world : len(videos) * (rank + 1) // world]
        rows = (row for video in own for sample in video for row in self._rows(sample))
        chunks = iter(lambda: list(islice(rows, self.batch_size)), [])
        planned = (_PlannedBatch(chunk, len(chunk), self.clip) for chunk in chunks)
        yield from _read_ahead(planned, self.threads)

    def _rows(self, sample: Sample) -> Iterable[_Row]:
        for _, same_frames in groupby(self.views, key=lambda view: (view.clip, view.clips)):
            crops = list(same_frames)
            frames = _Once(partial(read_view, self.dataset, sample, self.clip, crops[0]))
            for view in crops:
                yield _Row(sample, partial(self._crop, frames, view), view=view.index)

    def _crop(self, frames: _Once, view: View, out: np.ndarray, flow: None) -> None:
        crop_view(frames(), self.clip, view, out)


@dataclass(frozen=True)
class _Row:
    """One clip of a batch, not yet read."""

    sample: Sample
    read: Callable[[np.ndarray, np.ndarray | None], object]
    """Writes the clip, and the flow beside it, to their places in the batch."""
    weight: float = 1.0
    view: int = 0

    def read_into(self, out: np.ndarray, flow: np.ndarray | None) -> None:
        try:
            self.read(out, flow)
        except UserError:
            raise
        except Exception as error:
            raise RuntimeError(
                f"video {self.sample.video_id} (piece {self.sample.piece_index}) could not be read: {error}"
            ) from error


@dataclass(frozen=True)
class _PlannedBatch:
    rows: list[_Row]
    count: int
    clip: ClipSettings
    lr: float = 1.0


class _Once:
    """A value that several threads need and the first of them makes."""

    def __init__(self, make: Callable[[], np.ndarray]) -> None:
        self._make, self._lock = make, Lock()
        self._value: np.ndarray | None = None

    def __call__(self) -> np.ndarray:
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value


def _read_ahead(batches: Iterable[_PlannedBatch], threads: int) -> Generator[Batch, None, None]:
    """Yield batches in order, read by `threads` threads, which end when the consumer stops early too."""
    cv2.setNumThreads(1)  # these threads are the parallelism; OpenCV's own would only get in their way
    pool = ThreadPoolExecutor(threads, thread_name_prefix="marey-loader")
    ahead: deque[tuple[_PlannedBatch, Tensor, Tensor | None, list[Future[None]]]] = deque()
    try:
        for batch in batches:
            clips = torch.empty(len(batch.rows), *clip_shape(batch.clip))
            flow = torch.empty(len(batch.rows), *flow_shape(batch.clip)) if batch.clip.target == "flow" else None
            flows = [None] * len(batch.rows) if flow is None else flow.numpy()
            reads = [
                pool.submit(row.read_into, *places)
                for row, *places in zip(batch.rows, clips.numpy(), flows, strict=True)
            ]
            ahead.append((batch, clips, flow, reads))
            if len(ahead) > BATCHES_AHEAD:
                yield _finish(*ahead.popleft())
        while ahead:
            yield _finish(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finish(batch: _PlannedBatch, clips: Tensor, flow: Tensor | None, reads: list[Future[None]]) -> Batch:
    for read in reads:
        read.result()
    return Batch(
        clip=clips,
        labels=torch.tensor([row.sample.label_id for row in batch.rows]),
        sample_weights=torch.tensor([row.weight for row in batch.rows]),
        count=batch.count,
        video_ids=[row.sample.video_id for row in batch.rows],
        views=torch.tensor([row.view for row in batch.rows]),
        flow=flow,
        lr=batch.lr,
    )


def _samples(dataset: Dataset, part: str, clip: ClipSettings) -> Sequence[Sample]:
    if clip.stream == "flow" and dataset.settings.flow == "none":
        raise dataset.no_flow()
    samples = dataset.samples(part)
    if not samples:
        has = ", ".join(f"{name} {count}" for name, count in dataset.parts.items())
        raise UserError(f"{dataset.uri} has no videos in part {part!r} of {dataset.split} ({has}): choose another")
    return samples
