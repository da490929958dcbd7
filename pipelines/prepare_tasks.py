"""Preparation as Ray tasks: a video is the unit of compute, a shard the unit of commit.

Few videos are in flight at a time, whatever their number, and finished ones that wait for the rest of their shard may
fill only a part of the object store: neither the driver nor the store grows with the amount of data.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from pipelines.errors import UserError
from tasks.data.process import Processed, process_video
from tasks.data.settings import PrepareSettings
from tasks.data.shard import ShardPlan, settings_digest, write_shard
from tasks.video import DecoderProcess, Frames, VideoError

VIDEOS_PER_CPU = 3
"""Videos in flight a CPU: one at work, the others waiting beside it."""
STORE_SHARE = 0.3
"""Part of the object store that finished videos may fill before later shards wait."""
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
    bytes: int
    members: ray.ObjectRef[Any] | None = None
    """None where its worker was lost."""


@dataclass(eq=False)
class _Shard:
    plan: ShardPlan
    videos: list[Video | None]
    """In the plan's order; None until finished."""


class _LostWorker(DecoderProcess):
    """Stands in for the decoder of a video that no worker survived."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def decode(self, *_: Any, **__: Any) -> Frames:
        raise VideoError("crash", f"the worker was lost {RETRIES + 1} times: {self.reason}")


@ray.remote(num_cpus=1, max_retries=RETRIES, num_returns=2)
def process(row: dict[str, Any], settings: PrepareSettings) -> tuple[Video, list[tuple[str, bytes]]]:
    """Prepare one video; its small record goes to the driver, its members stay in the object store."""
    global _decoder
    if _decoder is None:  # one a worker process, for all its videos
        _decoder = DecoderProcess()
    done = process_video(row, settings, _decoder)
    return Video(done.record, sum(len(data) for _, data in done.members)), done.members


@ray.remote(num_cpus=0)
def write(root: str, plan: ShardPlan, videos: Sequence[Video | None], settings: PrepareSettings) -> None:
    """Write and commit one shard, fetching one video at a time."""

    def fetched() -> Iterator[Processed]:
        for video in filter(None, videos):
            yield Processed(video.record, [] if video.members is None else ray.get(video.members))

    write_shard(root, plan, fetched(), settings_digest(settings))


def cpus_now() -> int:
    """CPUs of the cluster as it is, where `capacity.cpus` counts what it may grow to."""
    return max(1, int(_resources().get("CPU", 1)))


def _resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def run(
    root: str,
    plans: Iterable[ShardPlan],
    manifest: pa.Table,
    settings: PrepareSettings,
    finished: Callable[[Video | None], None],
) -> None:
    """Prepare the planned shards and commit each.

    Args:
        root: the dataset.
        plans: the shards to make, in order.
        manifest: the rows that the plans number.
        settings: of the preparation.
        finished: called with each video as it is done, and with None when a second passes without one.
    """
    budget = STORE_SHARE * _resources()["object_store_memory"]
    shared = ray.put(settings)
    shards = (_Shard(plan, [None] * len(plan.rows)) for plan in plans)
    jobs = ((shard, i, row) for shard in shards for i, row in enumerate(shard.plan.take(manifest)))
    job = next(jobs, None)
    busy: dict[ray.ObjectRef[Any], tuple[_Shard, int, dict[str, Any], ray.ObjectRef[Any]]] = {}
    writing: dict[ray.ObjectRef[Any], int] = {}
    unfinished: list[_Shard] = []
    held, asked, window = 0, -math.inf, 0
    while job or busy or writing:
        if time.monotonic() - asked > CPUS_EVERY_S:
            asked, window = time.monotonic(), VIDEOS_PER_CPU * cpus_now()
        while job and len(busy) < window and (held < budget or not unfinished or job[0] is unfinished[0]):
            shard, i, row = job
            if shard not in unfinished:
                unfinished.append(shard)
            done, members = cast("tuple[ray.ObjectRef[Any], ...]", process.remote(row, shared))
            busy[done] = (shard, i, row, members)
            job = next(jobs, None)
        waiting = [*busy, *writing]
        ray.wait(waiting, timeout=1.0)  # for the first
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)  # and whatever is ready with it
        for ref in ready:
            if ref in writing:
                held -= writing.pop(ref)
                _committed(ref, root, writing)
                continue
            shard, i, row, members = busy.pop(ref)
            video = shard.videos[i] = _result(ref, members, row, settings)
            held += video.bytes
            finished(video)
            if all(shard.videos):
                unfinished.remove(shard)
                size = sum(video.bytes for video in shard.videos if video)
                writing[write.remote(root, shard.plan, shard.videos, shared)] = size
        if not ready:
            finished(None)


def _committed(written: ray.ObjectRef[Any], root: str, others: Iterable[ray.ObjectRef[Any]]) -> None:
    try:
        ray.get(written)
    except RayTaskError as error:
        if isinstance(error.cause, OSError):
            for other in others:  # it fails for the same reason, and Ray prints an error that nobody asks for
                with suppress(RayError):
                    ray.get(other)
            raise UserError(f"{root} cannot be written: {error.cause.strerror or error.cause}") from error
        raise


def _result(
    done: ray.ObjectRef[Any], members: ray.ObjectRef[Any], row: dict[str, Any], settings: PrepareSettings
) -> Video:
    try:
        video: Video = ray.get(done)
    except RayTaskError:  # a defect of ours, or a broken environment: no video is to blame
        raise
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        log.warning("%s: %s", row["uri"], reason)
        return Video(process_video(row, settings, _LostWorker(reason)).record, 0)
    video.members = members
    return video
