"""Shards: which video goes into which, and how a shard is written so that it is there whole or not at all.

A shard is `shards/000000.tar` and its sidecar `shards/000000.json`. The sidecar is written last and is the commit: a
tar counts only once its sidecar is written. It holds

* xxh3: checksum of the rest, but for the values of `seconds`
* format, shard, sha256 and bytes of the tar, settings (digest)
* provisional: whether a video failed for a reason that may pass; the next run makes the shard again
* records: one per video, as `process_video` makes them, with the shard's number
* members: [name, offset, size] of each file in the tar, so that readers go straight to the bytes

Tar headers carry no times or owners, and videos are in planned order, so the bytes depend on the videos alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.data import storage
from tasks.data.assembly import Processed
from tasks.data.settings import PrepareSettings
from tasks.data.sidecar import BLOCK, FORMAT, DamagedSidecar, read_sidecars, write_sidecar
from tasks.seeds import generator
from tasks.video.errors import TRANSIENT

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardPlan:
    """The videos of a shard, as row numbers of the manifest."""

    index: int
    rows: tuple[int, ...]

    def take(self, manifest: pa.Table) -> list[dict[str, Any]]:
        """Return the rows of the manifest, in the order of the shard."""
        rows: list[dict[str, Any]] = manifest.take(pa.array(self.rows)).to_pylist()
        return rows


def plan(manifest: pa.Table, settings: PrepareSettings) -> list[ShardPlan]:
    """Deal the videos to shards by seed, as a function of manifest and settings alone."""
    return [ShardPlan(i, tuple(rows.tolist())) for i, rows in enumerate(deal(manifest.num_rows, settings))]


def deal(videos: int, settings: PrepareSettings) -> list[np.ndarray]:
    """Return the videos of each shard, as row numbers of the manifest."""
    order, size = generator("shards", settings.seed).permutation(videos), settings.shard_videos
    return [order[first : first + size] for first in range(0, videos, size)]


def num_shards(videos: int, settings: PrepareSettings) -> int:
    """Return the number of shards that `plan` makes of so many videos."""
    return -(-videos // settings.shard_videos)


def settings_digest(settings: PrepareSettings) -> str:
    """Return the sha256 (hex) of all settings."""
    return hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()


def tar_path(root: str, index: int) -> str:
    """Return the path of a shard's tar."""
    return storage.join(root, "shards", f"{index:06d}.tar")


def write_shard(root: str, plan: ShardPlan, processed: Iterable[Processed], settings_digest: str) -> dict[str, Any]:
    """Write a shard and commit it.

    Args:
        root: The prepared dataset.
        plan: The shard.
        processed: Its videos in planned order; a generator keeps one video in memory at a time.
        settings_digest: Digest of the settings that they were made with.

    Returns:
        The sidecar.
    """
    storage.make_folder(storage.join(root, "shards"))
    records: list[dict[str, Any]] = []
    members: list[tuple[str, int, int]] = []
    state = hashlib.sha256()
    size = 0
    with storage.writing(tar_path(root, plan.index)) as path, open(path, "wb") as file:

        def put(data: bytes | memoryview) -> None:
            nonlocal size
            file.write(data)
            state.update(data)
            size += len(data)

        for video in processed:
            records.append({**video.record, "shard": plan.index})
            for name, content in video.members:
                put(_header(name, len(content)))
                members.append((name, size, len(content)))
                put(content)
                put(bytes(-len(content) % BLOCK))
        put(bytes(2 * BLOCK))
    if len(records) != len(plan.rows):
        raise ValueError(f"shard {plan.index} got {len(records)} of {len(plan.rows)} videos")
    sidecar = {
        "format": FORMAT,
        "shard": plan.index,
        "sha256": state.hexdigest(),
        "bytes": size,
        "settings": settings_digest,
        "provisional": any(record["kind"] in TRANSIENT for record in records),
        "records": records,
        "members": members,
    }
    write_sidecar(root, sidecar)
    return sidecar


def tar_bytes(root: str) -> int:
    """Return the total size of all shards' tars."""
    return storage.folder_bytes(storage.join(root, "shards"), ".tar")


def pending(root: str, plans: list[ShardPlan], settings_digest: str, *, retry_failed: bool = False) -> list[ShardPlan]:
    """Return the shards still to be made: those without a sound sidecar, provisional ones, and those of other settings.

    With `retry_failed`, those with a failed video too.
    """
    damaged: list[DamagedSidecar] = []
    done = {
        sidecar.shard
        for sidecar in read_sidecars(root, damaged)
        if not sidecar.provisional
        and sidecar.settings == settings_digest
        and not (retry_failed and any(record.status == "failed" for record in sidecar.records))
    }
    for sidecar in damaged:
        log.warning("%s is damaged (%s): its shard is made again", sidecar.path, sidecar.reason)
    return [plan for plan in plans if plan.index not in done]


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")  # GNU: every reader takes its long and non-ASCII names
