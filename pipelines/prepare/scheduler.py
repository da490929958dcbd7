"""Preparation as Ray tasks: a part of a video is the unit of compute, a shard the unit of commit.

Few parts are in flight at a time, whatever their number, and finished ones that wait for the rest of their shard may
fill only a part of the object store: neither the driver nor the store grows with the amount of data. Parts of videos
that have begun go first, so that a long video among the last does not leave the cluster idle.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from pipelines.compute import capacity
from pipelines.errors import UserError
from tasks.data.assembly import Assembly, Part, Processed, Request
from tasks.data.process import process_part
from tasks.data.settings import PrepareSettings
from tasks.data.shard import ShardPlan, settings_digest, write_shard
from tasks.video import DecoderProcess, VideoError, tvl1

VIDEOS_PER_CPU = 3
"""Videos in flight a CPU: one at work, the others waiting beside it."""
STORE_SHARE = 0.3
"""Part of the object store that finished videos may fill before later shards wait."""
WORKERS_A_GPU = 8
"""Processes that share a GPU at most, where flow is computed on GPUs: each takes some 1 GB of its memory."""
CPUS_EVERY_S = 10.0
"""How often the number of CPUs is asked for: a cluster may grow and shrink."""
RETRIES = 2
"""A video whose worker dies once more than this is a failed record."""

log = logging.getLogger(__name__)
_decoder: DecoderProcess | None = None


@dataclass
class Video:
    """What the driver keeps of a finished video."""

    record: dict[str, Any]
    members: list[ray.ObjectRef[Any]]
    """Of each part."""


@dataclass(eq=False)
class _Shard:
    plan: ShardPlan
    videos: list[Video | None]
    """In the plan's order; None until finished."""
    bytes: int = 0
    """Of its finished parts, in the object store."""


class _Work:
    """A video that is being made."""

    def __init__(self, shard: _Shard, place: int, row: dict[str, Any], settings: PrepareSettings) -> None:
        self.shard, self.place, self.row = shard, place, row
        self.assembly = Assembly(row["video_id"], settings.max_sample_frames)
        self.members: dict[int, ray.ObjectRef[Any]] = {}
        """Of each part that is made."""
        self.bytes = 0

    def take(self, request: Request, outcome: Part | VideoError, members: ray.ObjectRef[Any]) -> list[Request]:
        """Take what became of a request that is still wanted; returns what to make next."""
        following = self.assembly.take(request, outcome)
        if isinstance(outcome, Part):
            self.members[request.number] = members
            added = outcome.bytes
        else:  # the video has failed, or is read anew
            self.members.clear()
            added = -self.bytes
        self.bytes += added
        self.shard.bytes += added
        if self.assembly.done:
            refs = [self.members[number] for number in sorted(self.members)]
            self.shard.videos[self.place] = Video(self.assembly.record(), refs)
        return following


@ray.remote(num_cpus=1, max_retries=RETRIES, num_returns=2)
def process(
    row: dict[str, Any], settings: PrepareSettings, request: Request
) -> tuple[Part | VideoError, list[tuple[str, bytes]]]:
    """Make one part of a video; what describes it goes to the driver, its members stay in the object store."""
    global _decoder
    if _decoder is None:  # one a worker process, for all its videos
        _decoder = DecoderProcess()
        if settings.flow != "none":  # compiled, or loaded, before the first video's time is taken
            tvl1(np.zeros((2, 16, 16), np.uint8), settings.tvl1, settings.flow_backend)
    try:
        part = process_part(row, settings, _decoder, request.number, request.decoder)
    except VideoError as error:
        return error, []
    return replace(part, members=[]), part.members


@ray.remote(num_cpus=1)
def write(root: str, plan: ShardPlan, videos: Sequence[Video], settings: PrepareSettings) -> None:
    """Write and commit one shard, fetching one part at a time.

    Counts as a CPU so that the processes that make parts write too: for one task more than it has CPUs Ray starts a
    process, 1.5 s of a core, and soon ends another as idle, with its decoder and its loaded kernel.
    """

    def fetched(refs: list[ray.ObjectRef[Any]]) -> Iterator[tuple[str, bytes]]:
        for ref in refs:
            yield from ray.get(ref)

    write_shard(root, plan, (Processed(v.record, fetched(v.members)) for v in videos), settings_digest(settings))


def cpus_now() -> int:
    """CPUs of the cluster as it is, where `capacity.cpus` counts what it may grow to."""
    return max(1, int(_resources().get("CPU", 1)))


def _resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def tasks_for(settings: PrepareSettings) -> Any:
    """`process` with the resources that the settings ask for; UserError where the cluster can never have them."""
    if not settings.on_gpus:
        return process
    if not capacity.gpus():
        raise UserError("--flow-backend torch computes on GPUs, and Ray knows of none: leave it out to use the CPUs")
    return process.options(num_gpus=_gpu_share())


def _gpu_share() -> float:
    """Of a GPU, for each worker: so much that the CPUs of its node are busy."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    ratios = [node["GPU"] / node["CPU"] for node in nodes if node.get("GPU") and node.get("CPU")]
    return float(min(1, max([1 / WORKERS_A_GPU, *ratios])))


def run(
    root: str,
    plans: Iterable[ShardPlan],
    manifest: pa.Table,
    settings: PrepareSettings,
    finished: Callable[[int, Video | None], None],
) -> None:
    """Prepare the planned shards and commit each.

    Args:
        root: the dataset.
        plans: the shards to make, in order.
        manifest: the rows that the plans number.
        settings: of the preparation.
        finished: called with the pairs of each part as it is done, and the video if that was its last; with 0 and None
            when a second passes without one.
    """
    budget = STORE_SHARE * _resources()["object_store_memory"]
    shared = ray.put(settings)
    make = tasks_for(settings)
    shards = (_Shard(plan, [None] * len(plan.rows)) for plan in plans)
    works = (_Work(shard, i, row, settings) for shard in shards for i, row in enumerate(shard.plan.take(manifest)))
    waiting: deque[tuple[_Work, Request]] = deque()  # later parts of videos that have begun
    upcoming = next(works, None)
    busy: dict[ray.ObjectRef[Any], tuple[_Work, Request, ray.ObjectRef[Any]]] = {}
    writing: dict[ray.ObjectRef[Any], _Shard] = {}
    unfinished: list[_Shard] = []
    asked, window = -math.inf, 0

    def room(shard: _Shard) -> bool:
        held = sum(s.bytes for s in [*unfinished, *writing.values()])
        return held < budget or not unfinished or shard is unfinished[0]

    while waiting or upcoming or busy or writing:
        if time.monotonic() - asked > CPUS_EVERY_S:
            asked, window = time.monotonic(), VIDEOS_PER_CPU * cpus_now()
        while len(busy) < window:
            following = next((pair for pair in waiting if room(pair[0].shard)), None)
            if following:
                waiting.remove(following)
                work, request = following
            elif upcoming and room(upcoming.shard):
                work, request = upcoming, upcoming.assembly.first()
                if work.shard not in unfinished:
                    unfinished.append(work.shard)
                upcoming = next(works, None)
            else:
                break
            done, members = cast("tuple[ray.ObjectRef[Any], ...]", make.remote(work.row, shared, request))
            busy[done] = (work, request, members)
        pending = [*busy, *writing]
        ray.wait(pending, timeout=1.0)  # for the first
        ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)  # and whatever is ready with it
        for ref in ready:
            if ref in writing:
                del writing[ref]
                _committed(ref, root, writing)
                continue
            work, request, members = busy.pop(ref)
            outcome = _outcome(ref, work.row)
            if not work.assembly.wants(request):
                continue
            requests = work.take(request, outcome, members)
            if isinstance(outcome, VideoError):
                waiting = deque(pair for pair in waiting if pair[0] is not work)
            waiting.extend((work, request) for request in requests)
            shard = work.shard
            finished(outcome.flows if isinstance(outcome, Part) else 0, shard.videos[work.place])
            videos = [video for video in shard.videos if video]
            if len(videos) == len(shard.videos):
                unfinished.remove(shard)
                writing[write.remote(root, shard.plan, videos, shared)] = shard
        if not ready:
            finished(0, None)


def _committed(written: ray.ObjectRef[Any], root: str, others: Iterable[ray.ObjectRef[Any]]) -> None:
    try:
        ray.get(written)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        if isinstance(error.cause, OSError):
            for other in others:  # it fails for the same reason, and Ray prints an error that nobody asks for
                with suppress(RayError):
                    ray.get(other)
            raise UserError(f"{root} cannot be written: {error.cause.strerror or error.cause}") from error
        raise


def _outcome(ref: ray.ObjectRef[Any], row: dict[str, Any]) -> Part | VideoError:
    try:
        outcome: Part | VideoError = ray.get(ref)
    except RayTaskError:  # a defect of ours, or a broken environment: no video is to blame
        raise
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        log.warning("%s: %s", row["uri"], reason)
        return VideoError("crash", f"the worker was lost {RETRIES + 1} times: {reason}")
    return outcome
