"""Preparation as Ray tasks: a piece of a video is the unit of compute, a shard the unit of commit.

Few pieces are in flight at a time, whatever their number, and finished ones that wait for the rest of their shard may
fill only a fraction of the object store: neither the driver nor the store grows with the amount of data. Pieces of
videos that have begun go first, so that a long video among the last does not leave the cluster idle.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from pipelines.compute import capacity
from pipelines.errors import UserError
from tasks.data.assembly import Assembly, Piece, Processed, Request
from tasks.data.process import process_piece
from tasks.data.settings import PrepareSettings
from tasks.data.shard import ShardPlan, settings_digest, write_shard
from tasks.video import DecoderProcess, VideoError, tvl1

VIDEOS_PER_CPU = 3
"""Pieces in flight per CPU: one being made, the others queued behind it."""
STORE_FRACTION = 0.3
"""Fraction of the object store that finished pieces may fill before later shards wait."""
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
    members: list[_Ref]
    """The files of each piece, in the object store."""


@dataclass(eq=False)
class _Shard:
    plan: ShardPlan
    videos: list[FinishedVideo | None]
    """In the plan's order; None until finished."""
    bytes: int = 0
    """Size of its finished pieces in the object store."""

    def finished_videos(self) -> list[FinishedVideo] | None:
        """Return all its videos, None while one is missing."""
        videos = [video for video in self.videos if video]
        return videos if len(videos) == len(self.videos) else None


class _VideoInProgress:
    """A video of which some pieces are made and others are not."""

    def __init__(self, shard: _Shard, place: int, row: dict[str, Any], settings: PrepareSettings) -> None:
        self.shard, self.place, self.row = shard, place, row
        self.assembly = Assembly(row["video_id"], settings.max_sample_frames)
        self.members: dict[int, _Ref] = {}
        """The files of each piece made so far, by its number."""
        self.bytes = 0

    def take(self, request: Request, outcome: Piece | VideoError, members: _Ref) -> list[Request]:
        """Take the outcome of a request that is still wanted; return the requests that follow from it."""
        following = self.assembly.take(request, outcome)
        if isinstance(outcome, Piece):
            self.members[request.number] = members
            added = outcome.bytes
        else:  # the video has failed, or is read anew
            self.members.clear()
            added = -self.bytes
        self.bytes += added
        self.shard.bytes += added
        if self.assembly.done:
            refs = [self.members[number] for number in sorted(self.members)]
            self.shard.videos[self.place] = FinishedVideo(self.assembly.record(), refs)
        return following


@ray.remote(num_cpus=1, max_retries=RETRIES, num_returns=2)
def process(
    row: dict[str, Any], settings: PrepareSettings, request: Request
) -> tuple[Piece | VideoError, list[tuple[str, bytes]]]:
    """Make one piece of a video; its description goes to the driver, its files stay in the object store."""
    global _decoder
    if _decoder is None:  # one per worker process, for all its videos
        _decoder = DecoderProcess()
        if settings.flow != "none":  # compiled, or loaded, before the first video's time is taken
            tvl1(np.zeros((2, 16, 16), np.uint8), settings.tvl1, settings.flow_backend)
    try:
        piece = process_piece(row, settings, _decoder, request.number, request.decoder)
    except VideoError as error:
        return error, []
    return replace(piece, members=[]), piece.members


@ray.remote(num_cpus=1)
def write(root: str, plan: ShardPlan, videos: Sequence[FinishedVideo], settings: PrepareSettings) -> None:
    """Write and commit one shard, fetching one piece at a time.

    Counts as a CPU so that the processes that make pieces write too: for one task more than it has CPUs Ray starts a
    process, 1.5 s of a core, and soon ends another as idle, with its decoder and its loaded kernel.
    """

    def fetched(refs: list[_Ref]) -> Iterator[tuple[str, bytes]]:
        for ref in refs:
            yield from ray.get(ref)

    write_shard(root, plan, (Processed(v.record, fetched(v.members)) for v in videos), settings_digest(settings))


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
    ) -> None:
        self._root, self._finished = root, finished
        self._budget = STORE_FRACTION * capacity.current_resources()["object_store_memory"]
        self._settings = ray.put(settings)
        self._process = process_task(settings)
        shards = (_Shard(plan, [None] * len(plan.rows)) for plan in plans)
        self._videos = (
            _VideoInProgress(shard, place, row, settings)
            for shard in shards
            for place, row in enumerate(shard.plan.take(manifest))
        )
        self._upcoming = next(self._videos, None)
        self._later: deque[tuple[_VideoInProgress, Request]] = deque()
        """Pieces to make of videos that have begun."""
        self._in_flight: dict[_Ref, tuple[_VideoInProgress, Request, _Ref]] = {}
        """Outcome of each piece at work -> its video, its request, its files."""
        self._unfinished: list[_Shard] = []
        """Shards of which a video has begun, and not all have finished."""
        self._writing: dict[_Ref, _Shard] = {}
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
            if not ready:
                self._finished(0, None)

    def _fill_window(self) -> None:
        if time.monotonic() - self._window_set > CPUS_EVERY_S:
            self._window_set, self._window = time.monotonic(), VIDEOS_PER_CPU * capacity.current_cpus()
        while len(self._in_flight) < self._window and (piece := self._next_piece()):
            video, request = piece
            refs = self._process.remote(video.row, self._settings, request)
            outcome, members = cast("tuple[_Ref, _Ref]", refs)
            self._in_flight[outcome] = (video, request, members)

    def _next_piece(self) -> tuple[_VideoInProgress, Request] | None:
        """Return what to make next: of a video that has begun, else the first of another; None where nothing fits."""
        piece = next((piece for piece in self._later if self._fits(piece[0].shard)), None)
        if piece:
            self._later.remove(piece)
            return piece
        video = self._upcoming
        if video is None or not self._fits(video.shard):
            return None
        if video.shard not in self._unfinished:
            self._unfinished.append(video.shard)
        self._upcoming = next(self._videos, None)
        return video, video.assembly.first()

    def _fits(self, shard: _Shard) -> bool:
        """Tell whether the object store has room for more of a shard; for the first of them it always has."""
        held = sum(one.bytes for one in [*self._unfinished, *self._writing.values()])
        return held < self._budget or not self._unfinished or shard is self._unfinished[0]

    def _wait(self) -> list[_Ref]:
        """Return whatever is done; nothing where a second passes without."""
        pending = [*self._in_flight, *self._writing]
        ray.wait(pending, timeout=1.0)  # for the first
        ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)  # and whatever is ready with it
        return ready

    def _take_finished(self, ref: _Ref) -> None:
        video, request, members = self._in_flight.pop(ref)
        outcome = _outcome(ref, video.row)
        if not video.assembly.wants(request):
            return
        following = video.take(request, outcome, members)
        if isinstance(outcome, VideoError):  # what was asked for before is not wanted any more
            self._later = deque(piece for piece in self._later if piece[0] is not video)
        self._later.extend((video, request) for request in following)
        self._finished(outcome.flows if isinstance(outcome, Piece) else 0, video.shard.videos[video.place])
        self._start_writing(video.shard)

    def _start_writing(self, shard: _Shard) -> None:
        """Write a shard, if all its videos have finished."""
        videos = shard.finished_videos()
        if videos is not None:
            self._unfinished.remove(shard)
            self._writing[write.remote(self._root, shard.plan, videos, self._settings)] = shard

    def _take_written(self, ref: _Ref) -> None:
        del self._writing[ref]
        try:
            ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from error
            if isinstance(error.cause, OSError):
                self._await_other_writers()
                raise UserError(f"{self._root} cannot be written: {error.cause.strerror or error.cause}") from error
            raise

    def _await_other_writers(self) -> None:
        """Collect their errors: they fail for the same reason, and Ray prints an error that nobody asks for."""
        for ref in self._writing:
            with suppress(RayError):
                ray.get(ref)


def _outcome(ref: _Ref, row: dict[str, Any]) -> Piece | VideoError:
    try:
        outcome: Piece | VideoError = ray.get(ref)
    except RayTaskError:  # a defect of ours, or a broken environment: no video is to blame
        raise
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        log.warning("%s: %s", row["uri"], reason)
        return VideoError("crash", f"the worker was lost {RETRIES + 1} times: {reason}")
    return outcome
