"""Shares of training steps and batches of views: clips read ahead by threads, in a fixed order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice, pairwise
from threading import Lock
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from tasks.clips.augment import RawClip, View, clip_shape, flow_shape
from tasks.clips.clips import crop_view, raw_train_clip, read_view
from tasks.clips.order import OwnShares, balanced_order, deal, epoch_order
from tasks.clips.settings import ClipSettings
from tasks.data.arrow_file import Planes
from tasks.data.dataset import Dataset
from tasks.data.reader import Sample
from tasks.data.samples import Samples
from tasks.errors import UserError
from tasks.learn.batch import Batch, Portion
from tasks.learn.settings import TrainSettings
from tasks.learn.shares import SMALLEST
from tasks.learn.steps import Step, epoch_steps

T = TypeVar("T")
STEPS_AHEAD = 2
"""A worker's portions of steps, or batches of views, that are read ahead while the network works on one: enough to hide
a slow one, in bounded memory."""


class ClipLoader:
    """Loads the training clips of one part of a dataset: every sample once per epoch, over all ranks together.

    With `balanced_sampling`, an epoch has as many samples, but as many of each class as of another.
    `smallest` is the fewest clips of a share: `tasks.learn.shares.SMALLEST_HALVED` where the network halves it.
    """

    def __init__(
        self, dataset: Dataset, part: str, clip: ClipSettings, settings: TrainSettings, smallest: int = SMALLEST
    ) -> None:
        self.dataset, self.clip, self.settings, self.smallest = dataset, clip, settings, smallest
        self.samples = _samples(dataset, part, clip)
        if clip.target == "flow" and dataset.settings.flow == "none":
            raise UserError(
                f"{dataset.uri} was prepared without optical flow, which these clips need beside them: prepare the "
                "videos again, to another folder, with flow=tvl1"
            )

    def steps(self, epoch: int) -> int:
        """Return the number of steps of an epoch, which is the same for any number of workers."""
        return len(self._steps(epoch))

    def label_counts(self) -> Tensor:
        """Return the samples of each class, int64 [K]."""
        return torch.from_numpy(np.bincount(self.samples.label_ids, minlength=len(self.dataset.classes)))

    def _order(self, epoch: int) -> np.ndarray:
        """Return the order of an epoch's samples; copy c of sample i of n is c * n + i."""
        samples, seed = self.samples, self.settings.seed
        if self.settings.balanced_sampling:
            return balanced_order(samples.label_ids, samples.shards, seed, epoch)
        return epoch_order(samples.shards, seed, epoch)

    def _steps(self, epoch: int) -> list[Step]:
        return epoch_steps(self.settings, epoch, len(self.samples), self.smallest)

    def batches(self, epoch: int, rank: int, world: int, start_step: int = 0) -> Generator[Portion, None, None]:
        """Yield a rank's portion of each step of an epoch, from `start_step` on."""
        order = self._order(epoch)
        steps = self._steps(epoch)
        sizes = [step.samples for step in steps]
        dealt = deal(order, sizes, rank, world, shares=self.settings.shares, smallest=self.smallest)
        left = list(zip(dealt, steps, strict=True))[start_step:]
        planned = (self._planned(own, step, epoch) for own, step in left)
        with closing(_read_ahead(planned, self.settings.loader_threads)) as read:
            for (own, step), batches in zip(left, read, strict=True):
                shares = [
                    replace(batch, number=number, fraction=len(batch.labels) / own.count)
                    for number, batch in enumerate(batches, own.first)
                ]
                yield Portion(shares, own.first, own.of, own.count, step.lr)

    def _planned(self, own: OwnShares, step: Step, epoch: int) -> list[_PlannedBatch]:
        clip = resized(self.clip, step)
        return [_PlannedBatch(self._rows(share, clip, epoch), clip) for share in own.shares]

    def _rows(self, share: np.ndarray, clip: ClipSettings, epoch: int) -> list[_Row]:
        copies, numbers = np.divmod(share, len(self.samples))
        rows = []
        for sample, copy in zip(self.samples.take(numbers), copies.tolist(), strict=True):
            reads = _TimedReads(self.dataset)
            rows.append(_Row(sample, partial(raw_train_clip, reads, sample, clip, epoch, copy=copy), reads))
        return rows


def resized(clip: ClipSettings, step: Step) -> ClipSettings:
    """Return the clip settings of a step, which may have fewer or smaller frames; dense ones cover the same time."""
    segments = max(1, round(clip.segments * step.frames))
    stride = max(1, round(clip.stride * clip.segments / segments))
    return replace(clip, segments=segments, stride=stride, size=round(clip.size * step.size))


class ViewLoader:
    """Loads the test clips of one part of a dataset: every view of every sample once, over all ranks together.

    Batches are cut from the list of all views by position, as the last bits of a clip's scores depend on what is in its
    batch; a rank gets consecutive ones.
    """

    def __init__(
        self, dataset: Dataset, part: str, clip: ClipSettings, views: list[View], batch_size: int, threads: int = 2
    ) -> None:
        self.dataset, self.views, self.batch_size, self.threads = dataset, views, batch_size, threads
        self.clip = replace(clip, target="none")  # only losses need it
        self.samples = _samples(dataset, part, clip)

    def batches(self, rank: int, world: int) -> Generator[Batch, None, None]:
        """Yield a rank's batches, perhaps none; nothing is padded."""
        per_sample = len(self.views)
        batches = -(-len(self.samples) * per_sample // self.batch_size)
        first, last = (batches * which // world for which in (rank, rank + 1))
        sample, view = divmod(first * self.batch_size, per_sample)
        rows = islice((row for one in self.samples[sample:] for row in self._rows(one)), view, None)
        chunks = (list(islice(rows, self.batch_size)) for _ in range(first, last))
        planned = ([_PlannedBatch(chunk, self.clip)] for chunk in chunks)
        with closing(_read_ahead(planned, self.threads)) as read:
            for (batch,) in read:
                yield batch

    def _rows(self, sample: Sample) -> Iterable[_Row]:
        for _, same_frames in groupby(self.views, key=lambda view: (view.clip, view.clips)):
            crops = list(same_frames)
            frames = _Once(partial(read_view, self.dataset, sample, self.clip, crops[0]))
            for view in crops:
                yield _Row(sample, partial(self._crop, frames, view), view=view.index)

    def _crop(self, frames: _Once, view: View, out: np.ndarray, flow: None) -> RawClip:
        return crop_view(frames(), self.clip, view, out)


class _TimedReads:
    """The dataset as one clip reads it, with the seconds that this takes."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self.settings = dataset, dataset.settings
        self.seconds = 0.0

    def rgb(self, sample: Sample, indices: np.ndarray) -> np.ndarray:
        return self._timed(self._dataset.rgb, sample, indices)

    def flow(self, sample: Sample, indices: np.ndarray) -> np.ndarray:
        return self._timed(self._dataset.flow, sample, indices)

    def _timed(self, read: Callable[..., np.ndarray], sample: Sample, indices: np.ndarray) -> np.ndarray:
        before = time.perf_counter()
        images = read(sample, indices)
        self.seconds += time.perf_counter() - before
        return images

    def each_rgb(self, sample: Sample, indices: Iterable[int]) -> Iterator[np.ndarray]:
        return self._timed_each(self._dataset.each_rgb(sample, indices))

    def each_flow(self, sample: Sample, indices: Iterable[int]) -> Iterator[Planes]:
        return self._timed_each(self._dataset.each_flow(sample, indices))

    def _timed_each(self, images: Iterator[T]) -> Iterator[T]:
        before = time.perf_counter()
        for image in images:
            self.seconds += time.perf_counter() - before
            yield image
            before = time.perf_counter()


@dataclass(frozen=True)
class _Row:
    """One clip of a batch, not yet read."""

    sample: Sample
    read: Callable[[np.ndarray, np.ndarray | None], RawClip]
    """Writes the clip's values, and the flow beside it, to their places in the batch."""
    reads: _TimedReads | None = None
    """The dataset, as the clip reads it in training."""
    view: int = 0

    def read_into(self, out: np.ndarray, norm: np.ndarray, flow: np.ndarray | None) -> float:
        """Read the clip; return the seconds that it took."""
        before = time.perf_counter()
        try:
            norm[:] = self.read(out, flow).norm
            return time.perf_counter() - before
        except UserError:
            raise
        except Exception as error:
            raise RuntimeError(
                f"video {self.sample.video_id} (piece {self.sample.piece_index}) could not be read: {error}"
            ) from error


@dataclass(frozen=True)
class _PlannedBatch:
    rows: list[_Row]
    clip: ClipSettings


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


def _read_ahead(planned: Iterable[list[_PlannedBatch]], threads: int) -> Generator[list[Batch], None, None]:
    """Yield each step's batches in order, read by `threads` threads, which end when the consumer stops early too."""
    cv2.setNumThreads(1)  # these threads are the parallelism; OpenCV's own would only get in their way
    pool = ThreadPoolExecutor(threads, thread_name_prefix="marey-loader")
    ahead: deque[list[_ReadBatch]] = deque()
    try:
        for batches in planned:
            ahead.append([_begin(batch, pool, threads) for batch in batches])
            if len(ahead) > STEPS_AHEAD:
                yield [_finish(batch) for batch in ahead.popleft()]
        while ahead:
            yield [_finish(batch) for batch in ahead.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _ReadBatch:
    planned: _PlannedBatch
    clips: Tensor
    norms: Tensor
    flow: Tensor | None
    reads: list[Future[float]]


def _begin(batch: _PlannedBatch, pool: ThreadPoolExecutor, threads: int) -> _ReadBatch:
    count, shape, pin = len(batch.rows), clip_shape(batch.clip), torch.cuda.is_available()
    clips = torch.empty(count, *shape, dtype=torch.uint8, pin_memory=pin)
    norms = torch.empty(count, 2, shape[0], pin_memory=pin)
    flow = torch.empty(count, *flow_shape(batch.clip), pin_memory=pin) if batch.clip.target == "flow" else None
    flows = [None] * count if flow is None else flow.numpy()
    places = list(zip(batch.rows, clips.numpy(), norms.numpy(), flows, strict=True))
    parts = min(threads, count)  # a task for each thread, and not for each clip
    cuts = [count * part // parts for part in range(parts + 1)]
    reads = [pool.submit(_read_rows, places[first:end]) for first, end in pairwise(cuts)]
    return _ReadBatch(batch, clips, norms, flow, reads)


def _read_rows(places: list[tuple[_Row, np.ndarray, np.ndarray, np.ndarray | None]]) -> float:
    """Read clips to their places in a batch; return the seconds that they took."""
    return sum(row.read_into(out, norm, flow) for row, out, norm, flow in places)


def _finish(batch: _ReadBatch) -> Batch:
    seconds = sum(read.result() for read in batch.reads)
    rows = batch.planned.rows
    decode_s = sum(row.reads.seconds for row in rows if row.reads)
    return Batch(
        clip=batch.clips,
        norm=batch.norms,
        labels=torch.tensor([row.sample.label_id for row in rows]),
        video_ids=[row.sample.video_id for row in rows],
        views=torch.tensor([row.view for row in rows]),
        flow=batch.flow,
        decode_s=decode_s,
        augment_s=seconds - decode_s,
    )


def _samples(dataset: Dataset, part: str, clip: ClipSettings) -> Samples:
    if clip.stream == "flow" and dataset.settings.flow == "none":
        raise dataset.no_flow()
    samples = dataset.samples(part)
    if not samples:
        has = ", ".join(f"{name} {count}" for name, count in dataset.parts.items())
        raise UserError(f"{dataset.uri} has no videos in part {part!r} of {dataset.split} ({has}): choose another")
    return samples
