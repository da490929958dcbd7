"""The time and disk space that a preparation would take, estimated from a few of its videos."""

from __future__ import annotations

import math
import os
import shutil
import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from pipelines.compute import Progress, bounded, capacity
from pipelines.text import columns
from tasks.data import kept, manifest, shard, storage, tables
from tasks.data.assembly import Piece, Request
from tasks.data.settings import PrepareSettings
from tasks.seeds import generator

SAMPLED_VIDEOS = 24
"""Videos that are prepared, and thrown away, for an estimate."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Totals over the videos still to be prepared; `spread` is one standard error, as a fraction of the time."""

    videos: int
    prepared: int
    """Videos that an earlier call has prepared, which would stay."""
    sampled: int
    kinds: dict[str, int]
    """Failed videos of the sample, by kind."""
    frames: float
    pairs: float
    bytes: float
    core_seconds: float
    spread: float
    cpus: int
    free: int | None
    """Free bytes on the disk of the dataset; None where it is not on this machine."""

    @property
    def seconds(self) -> float:
        """Time on all CPUs of the cluster as it is."""
        return self.core_seconds / self.cpus


def estimate_preparation(
    listed: manifest.Listing,
    out: str,
    settings: PrepareSettings,
    *,
    address: str | None = None,
    progress: bool = True,
) -> Estimate:
    """Prepare a seeded sample of videos (of a long one the first piece) and extrapolate; nothing is written.

    Args:
        listed: the videos of the source.
        out: folder or fsspec URL of the dataset.
        settings: how to prepare.
        address: address of a Ray cluster; None for RAY_ADDRESS, else this machine.
        progress: whether to show progress.

    Raises:
        UserError: as `prepare`.
    """
    from cluster.attach import attach
    from pipelines.prepare.scheduler import VIDEOS_PER_CPU, process_task

    root = storage.absolute(out)
    videos, _ = manifest.build(listed, settings)
    tables.check_output(root, manifest.digest(videos), settings)
    digest = shard.settings_digest(settings)
    pending = shard.pending(root, shard.plan(videos, settings), digest)
    finished = kept.finished(root, pending, videos, digest, settings.max_sample_frames)
    rows = sorted({row for plan in pending for row in plan.rows} - finished)
    chosen = generator("estimate", settings.seed).permutation(len(rows))[:SAMPLED_VIDEOS]
    attach(address)
    cpus = capacity.current_cpus()
    sizes, seconds, frames, kinds = [], [], [], Counter[str]()
    calls = (
        (row, settings, Request(0, settings.decoder), None)
        for row in videos.take(pa.array([rows[i] for i in chosen], pa.int64())).to_pylist()
    )
    with Progress(len(chosen), "video", shown=progress) as bar:
        for _, (part, _) in bounded(process_task(settings), calls, VIDEOS_PER_CPU * cpus, bar.tick):
            bar.update()
            if not isinstance(part, Piece):
                kinds[part.kind] += 1
                continue
            whole = (part.total or part.frames) / part.frames if not part.last else 1.0
            frames.append(whole * part.frames)
            sizes.append(whole * part.bytes)
            seconds.append(whole * sum(part.seconds.values()))
    usable = len(rows) * len(frames) / max(1, len(chosen))
    mean = [statistics.fmean(values) if values else 0.0 for values in (frames, sizes, seconds)]
    error = statistics.stdev(seconds) / math.sqrt(len(seconds)) if len(seconds) > 1 else 0.0
    return Estimate(
        videos=len(rows),
        prepared=videos.num_rows - len(rows),
        sampled=len(chosen),
        kinds=dict(kinds.most_common()),
        frames=usable * mean[0],
        pairs=usable * max(0.0, mean[0] - 1) if settings.flow != "none" else 0.0,
        bytes=usable * mean[1],
        core_seconds=usable * mean[2],
        spread=error / mean[2] if mean[2] else 0.0,
        cpus=cpus,
        free=_free_bytes(root),
    )


def to_text(result: Estimate) -> str:
    """Return the estimate as text for the terminal."""
    total = result.videos + result.prepared
    free = "" if result.free is None else f", {result.free / 1e9:,.0f} GB free"
    time = f"{_duration(result.seconds)} ±{result.spread:.0%} on {result.cpus} cores"
    rows = [("videos", f"{result.videos:,} to prepare of {total:,}, estimated from {result.sampled}")]
    rows += [(f"  {kind}", f"{count} of the sample") for kind, count in result.kinds.items()]
    rows += [
        ("frames", f"{result.frames:,.0f}"),
        ("flow pairs", f"{result.pairs:,.0f}"),
        ("size", f"{result.bytes / 1e9:,.2f} GB{free}"),
        ("time", f"{time}, {result.core_seconds / 3600:,.1f} core-hours"),
    ]
    lines = columns(rows)
    if result.free is not None and result.bytes > result.free:
        lines.append("the disk is too small")
    return "\n".join(lines)


def _free_bytes(root: str) -> int | None:
    if not storage.is_local(root):
        return None
    while not os.path.exists(root):
        root = os.path.dirname(root)
    return shutil.disk_usage(root).free


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
