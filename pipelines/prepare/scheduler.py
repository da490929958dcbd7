"""Preparation as Ray tasks: a piece of a video is the unit of compute, a shard the unit of commit.

Whoever makes a piece keeps it aside in the dataset until its shard is committed, and only then does it count as
finished: whatever is killed, only the pieces that were being made are made again. Few are in flight at a time, and
their files pass neither through the driver nor through Ray's object store: neither grows with the amount of data.
Pieces of videos that have begun go first, so that a long video among the last does not leave the cluster idle.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from pipelines.compute import capacity
from pipelines.errors import UserError
from tasks.data import kept
from tasks.data.assembly import Assembly, Piece, Processed, Request
from tasks.data.kept import KeptVideo
from tasks.data.process import process_piece
from tasks.data.settings import PrepareSettings
from tasks.data.shard import ShardPlan, settings_digest, write_shard
from tasks.remote import reason
from tasks.video import DecoderProcess, VideoError, tvl1

VIDEOS_PER_CPU = 3
"""Pieces in flight per CPU: one being made, the others queued behind it."""
WORKERS_PER_GPU = 8
"""Most processes that use one GPU where flow is computed on GPUs: each takes some 1 GB of its memory."""
CPUS_EVERY_S = 10.0
"""How often the number of CPUs is asked for: a cluster may grow and shrink."""
RETRIES = 2
"""A video whose worker dies more often than this is recorded as failed."""

log = logging.getLogger(__name__)
_decoder: DecoderProcess | None = None

_Ref: TypeAlias = "ray.ObjectRef[Any]"


@dataclass
class FinishedVideo:
    """What the driver keeps of a finished video."""

    record: dict[str, Any]
    place: KeptVideo
    pieces: list[Request]
    """What was asked for to get its pieces, in their order."""
    new: bool
    """Whether anything of it was made by this call."""


@dataclass(eq=False)
class _Shard:
    plan: ShardPlan
    videos: list[FinishedVideo | None]
    """In the plan's order; None until finished."""

    def finished_videos(self) -> list[FinishedVideo] | None:
        """Return all its videos, None while one is missing."""
        videos = [video for video in self.videos if video]
        return videos if len(videos) == len(self.videos) else None


class _VideoInProgress:
    """A video of which some pieces are made and others are not."""

    def __init__(
        self, shard: _Shard, index: int, row: dict[str, Any], settings: PrepareSettings, place: KeptVideo
    ) -> None:
        self.shard, self.index, self.row, self.place = shard, index, row, place
        self.assembly = Assembly(row["video_id"], settings.max_sample_frames, settings.decoder)
        self.new = False
        self._pieces: dict[int, Request] = {}
        """What was asked for to get each piece made so far, by the number of the piece."""

    def take(self, request: Request, outcome: Piece | VideoError, new: bool) -> list[Request]:
        """Take the outcome of a request that is still wanted; return the requests that follow from it."""
        self.new |= new
        following = self.assembly.take(request, outcome)
        if isinstance(outcome, Piece):
            self._pieces[request.number] = request
        else:  # the video has failed, or is read anew
            self._pieces.clear()
        if self.assembly.done:
            pieces = [self._pieces[number] for number in sorted(self._pieces)]
            self.shard.videos[self.index] = FinishedVideo(self.assembly.record(), self.place, pieces, self.new)
        return following


@ray.remote(num_cpus=1, max_retries=RETRIES)
def process(
    row: dict[str, Any], settings: PrepareSettings, request: Request, place: KeptVideo | None
) -> tuple[Piece | VideoError, bool]:
    """Make one piece of a video and keep it at its place, unless it is there.

    Args:
        row: the video.
        settings: how to prepare it.
        request: the piece.
        place: where the piece is kept; None keeps it nowhere.

    Returns:
        The piece without its files, or its failure; and whether it was made now.
    """
    global _decoder
    if place:
        with _writing_to(place.root):
            found = place.read(request)
        if found:
            return found, False
    if _decoder is None:  # one per worker process, for all its videos
        _decoder = DecoderProcess()
        if settings.flow != "none":  # compiled, or loaded, before the first video's time is taken
            tvl1(np.zeros((2, 16, 16), np.uint8), settings.tvl1, settings.flow_backend)
    try:
        outcome: Piece | VideoError = process_piece(row, settings, _decoder, request.number, request.decoder)
    except VideoError as error:
        outcome = error
    if place:
        with _writing_to(place.root):
            place.write(request, outcome)
    return outcome if isinstance(outcome, VideoError) else replace(outcome, members=[]), True


@ray.remote(num_cpus=1)
def write(root: str, plan: ShardPlan, videos: Sequence[FinishedVideo], settings: PrepareSettings) -> None:
    """Write and commit one shard from what is kept, reading few pieces at a time.

    Counts as a CPU so that the processes that make pieces write too: for one task more than it has CPUs Ray starts a
    process, 1.5 s of a core, and soon ends another as idle, with its decoder and its loaded kernel.
    """
    pieces = kept.read_members(video.place.path(request) for video in videos for request in video.pieces)

    def members(count: int) -> Iterator[tuple[str, memoryview]]:
        for files in islice(pieces, count):
            yield from files

    with _writing_to(root):
        done = (Processed(video.record, members(len(video.pieces))) for video in videos)
        write_shard(root, plan, done, settings_digest(settings))


@contextmanager
def _writing_to(root: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{root} cannot be written: {reason(error)}") from error


def process_task(settings: PrepareSettings) -> Any:
    """Return `process` with the resources that the settings ask for.

    Raises:
        UserError: the cluster can never have them.
    """
    if not settings.on_gpus:
        return process
    if not capacity.max_gpus():
        raise UserError("--flow-backend torch computes on GPUs, and Ray knows of none: leave it out to use the CPUs")
    return process.options(num_gpus=_gpu_fraction())


def _gpu_fraction() -> float:
    """Return the fraction of a GPU that each worker takes: small enough to keep the CPUs of its node busy."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    ratios = [node["GPU"] / node["CPU"] for node in nodes if node.get("GPU") and node.get("CPU")]
    return float(min(1, max([1 / WORKERS_PER_GPU, *ratios])))


class Scheduler:
    """Prepares the planned shards and commits each.

    Args:
        root: the dataset.
        plans: the shards to make, in order.
        manifest: the rows that the plans number.
        settings: how to prepare.
        retry_failed: whether a failure that was kept is tried again.
        finished: called with the flow pairs of each piece as it is done, and the video if that was its last; with 0 and
            None when a second passes without one.
    """

    def __init__(
        self,
        root: str,
        plans: Iterable[ShardPlan],
        manifest: pa.Table,
        settings: PrepareSettings,
        finished: Callable[[int, FinishedVideo | None], None],
        *,
        retry_failed: bool = False,
    ) -> None:
        self._root, self._finished = root, finished
        digest = settings_digest(settings)
        self._settings = ray.put(settings)
        self._process = process_task(settings)
        shards = (_Shard(plan, [None] * len(plan.rows)) for plan in plans)
        self._videos = (
            _VideoInProgress(
                shard,
                index,
                row,
                settings,
                KeptVideo.of(root, shard.plan.index, shard.plan.rows[index], row, digest, retry_failed),
            )
            for shard in shards
            for index, row in enumerate(shard.plan.take(manifest))
        )
        self._upcoming = next(self._videos, None)
        self._later: deque[tuple[_VideoInProgress, Request]] = deque()
        """Pieces to make of videos that have begun."""
        self._in_flight: dict[_Ref, tuple[_VideoInProgress, Request]] = {}
        """Outcome of each piece at work -> its video and its request."""
        self._writing: dict[_Ref, _Shard] = {}
        self._written: set[int] = set()
        """Shards that are written, while what was kept for them is there."""
        self._window = 0
        """Pieces in flight at most."""
        self._window_set = -math.inf

    def run(self) -> None:
        """Work until every shard is committed."""
        while self._upcoming or self._later or self._in_flight or self._writing:
            self._fill_window()
            ready = self._wait()
            for ref in ready:
                if ref in self._writing:
                    self._take_written(ref)
                else:
                    self._take_finished(ref)
            self._remove_kept()
            if not ready:
                self._finished(0, None)

    def _fill_window(self) -> None:
        if time.monotonic() - self._window_set > CPUS_EVERY_S:
            self._window_set, self._window = time.monotonic(), VIDEOS_PER_CPU * capacity.current_cpus()
        while len(self._in_flight) < self._window and (piece := self._next_piece()):
            video, request = piece
            self._in_flight[self._process.remote(video.row, self._settings, request, video.place)] = piece

    def _next_piece(self) -> tuple[_VideoInProgress, Request] | None:
        """Return what to make next: of a video that has begun, else the first of another; None at the end."""
        if self._later:
            return self._later.popleft()
        video = self._upcoming
        if video is None:
            return None
        self._upcoming = next(self._videos, None)
        return video, video.assembly.first()

    def _wait(self) -> list[_Ref]:
        """Return whatever is done; nothing where a second passes without."""
        pending = [*self._in_flight, *self._writing]
        ray.wait(pending, timeout=1.0)  # for the first
        ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)  # and whatever is ready with it
        return ready

    def _take_finished(self, ref: _Ref) -> None:
        video, request = self._in_flight.pop(ref)
        outcome, new = self._outcome(ref, video.row)
        if not video.assembly.wants(request):
            return
        following = video.take(request, outcome, new)
        if isinstance(outcome, VideoError):  # what was asked for before is not wanted any more
            self._later = deque(piece for piece in self._later if piece[0] is not video)
        self._later.extend((video, request) for request in following)
        pairs = outcome.flows if new and isinstance(outcome, Piece) else 0
        self._finished(pairs, video.shard.videos[video.index])
        self._start_writing(video.shard)

    def _outcome(self, ref: _Ref, row: dict[str, Any]) -> tuple[Piece | VideoError, bool]:
        try:
            outcome: tuple[Piece | VideoError, bool] = ray.get(ref)
        except RayTaskError as error:  # a full disk, a defect of ours, or a broken environment: no video is to blame
            raise self._ended_by(error) from error
        except RayError as error:
            why = str(error).strip().partition("\n")[0]
            log.warning("%s: %s", row["uri"], why)
            return VideoError("crash", f"the worker was lost {RETRIES + 1} times: {why}"), True
        return outcome

    def _start_writing(self, shard: _Shard) -> None:
        """Write a shard, if all its videos have finished."""
        videos = shard.finished_videos()
        if videos is not None:
            self._writing[write.remote(self._root, shard.plan, videos, self._settings)] = shard

    def _take_written(self, ref: _Ref) -> None:
        shard = self._writing.pop(ref)
        try:
            ray.get(ref)
        except RayTaskError as error:
            raise self._ended_by(error) from error
        self._finished(0, None)  # what another driver keeps is its own
        self._written.add(shard.plan.index)

    def _remove_kept(self) -> None:
        """Remove what was kept for shards that are written: not by their task, which Ray may repeat.

        Pieces that are not wanted any more may still be at work, and are to find their folder.
        """
        busy = {video.shard.plan.index for video, _ in self._in_flight.values()}
        for index in self._written - busy:
            kept.remove(self._root, index)
            self._written.remove(index)

    def _ended_by(self, error: RayTaskError) -> Exception:
        """Return the error to raise for that of a task."""
        if not isinstance(error.cause, UserError):
            return error
        # The others fail for the same reason, and Ray prints an error that nobody asks for.
        for ref in self._in_flight:
            ray.cancel(ref, force=True)
        for ref in [*self._in_flight, *self._writing]:
            with suppress(RayError):
                ray.get(ref)
        return UserError(str(error.cause))
