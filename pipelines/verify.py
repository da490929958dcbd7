"""`marey verify`: re-read a prepared dataset by Ray tasks and report everything that is not as it was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster.attach import attach
from pipelines.compute import Progress, bounded, capacity
from pipelines.text import printable
from tasks.data import storage, tables
from tasks.data.verify import shards_of, verify_dataset, verify_shard
from tasks.words import counted

SHARDS_PER_CPU = 2
CRASHES = 2
"""Times that a shard may end the process that reads it, which something else may have ended."""


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What was compared, and what differs."""

    dataset: str
    shards: int
    videos: int | None
    """None where dataset.json is damaged."""
    differences: list[str]
    """One line per difference."""


def verify(dataset: str | Path, *, address: str | None = None, progress: bool = True) -> VerifyResult:
    """Compare every byte, count and image of a dataset with its sidecars, tables and description.

    Args:
        dataset: folder or fsspec URL.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.

    Raises:
        UserError: no prepared dataset is there.
    """
    root = storage.absolute(str(dataset))
    differences = {-1: verify_dataset(root)}
    shards = shards_of(root)
    attach(address)
    import ray

    calls = ((root, index) for index in shards)
    task = ray.remote(verify_shard).options(max_retries=CRASHES - 1)

    def crashed(number: int) -> list[str]:
        return [f"shard {shards[number]:06d} ended the process that read it, {counted(CRASHES, 'time')}"]

    limit = SHARDS_PER_CPU * capacity.max_cpus()
    with Progress(len(shards), "shard", shown=progress) as bar:
        for index, found in bounded(task, calls, limit, bar.tick, crashed=crashed):
            differences[index] = found
            bar.update()
    return VerifyResult(
        dataset=root,
        shards=len(shards),
        videos=_videos(root),
        # A damaged sidecar is met twice: with its shard, and with all others.
        differences=list(dict.fromkeys(text for index in sorted(differences) for text in differences[index])),
    )


def _videos(root: str) -> int | None:
    try:
        videos: int = tables.read_description(root)["videos"]
    except tables.BadTable:
        return None
    return videos


def to_text(result: VerifyResult) -> str:
    """Return every difference, a line each, and what was compared."""
    found = counted(len(result.differences), "difference") if result.differences else "no difference"
    videos = "" if result.videos is None else f" of {counted(result.videos, 'video')}"
    return "\n".join(
        [*map(printable, result.differences), f"{found} in {counted(result.shards, 'shard')}{videos}: {result.dataset}"]
    )
