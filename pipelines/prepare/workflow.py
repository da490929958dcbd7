"""`marey prepare`: source videos -> manifest -> frames and flow -> shards; it may be interrupted at any point."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.compute import Progress, capacity
from pipelines.errors import UserError
from pipelines.text import columns
from tasks.data import kept, layouts, manifest, shard, storage, tables
from tasks.data.lock import Lock
from tasks.data.settings import PrepareSettings, SourceSettings
from tasks.video.errors import TRANSIENT
from tasks.words import counted

if TYPE_CHECKING:
    from pipelines.prepare.scheduler import FinishedVideo

log = logging.getLogger(__name__)

_BY_VIDEO = (
    "; a person or scene of several videos may be in train and test alike, and results then look too good: name groups "
    "by --group PATTERN, or in a CSV file by a column (group, or --group-column NAME)"
)


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """The outcome of a preparation."""

    dataset: str
    """Absolute path, or URL."""
    digest: str
    """Digest of videos, labels, splits and settings."""
    ok: int
    failed: int
    kinds: dict[str, int]
    """Number of failed videos by kind."""
    max_failed: float
    frames: int
    pairs: int
    """Flow pairs."""
    bytes: int
    """Size of the shards."""
    new_videos: int
    """Videos prepared by this call; the others were there."""
    seconds: float
    """Duration of this call."""
    pairs_per_s: float
    """Flow pairs of this call over its duration."""
    provisional: int
    """Shards with a transient failure, which the next call makes again."""

    @property
    def too_many_failed(self) -> bool:
        """Whether more than the allowed fraction of the videos failed."""
        return self.failed > self.max_failed * (self.ok + self.failed)


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    layout: str = SourceSettings.layout,
    settings: PrepareSettings | None = None,
    group: str | None = SourceSettings.group,
    group_column: str | None = SourceSettings.group_column,
    max_failed: float = SourceSettings.max_failed,
    retry_failed: bool = False,
    address: str | None = None,
    progress: bool = True,
) -> PrepareResult:
    """Prepare the videos of `source` as the dataset `out`; shards of an earlier call are kept.

    Args:
        source: the videos, as the layout reads them.
        out: folder or fsspec URL.
        layout: name of a module in `tasks/data/layouts`.
        settings: how to prepare; they decide the bytes of the dataset.
        group: regular expression searched in a video's path; its first group names the video's group.
        group_column: column of a CSV file that names the video's group, instead of a pattern.
        max_failed: fraction of failed videos above which `too_many_failed` is true.
        retry_failed: also make the shards again that hold a failed video, such as one repaired since.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.

    Raises:
        UserError: there is nothing to prepare, or nothing readable; `out` holds something else or cannot be written;
            another call is working on it, or has taken it over from this one.
    """
    started = time.monotonic()
    source, out = str(source), str(out)
    settings = settings or PrepareSettings()
    root = storage.absolute(out)
    _refuse_inside(storage.absolute(source), root)
    storage.require_writable(root)
    videos, splits = _tables(listing(layout, source, group, group_column), settings)
    with Lock(root) as lock:
        try:
            description = tables.write_tables(root, videos, splits, settings)
        except OSError as error:
            raise UserError(f"{root} cannot be written: {error.strerror or error}") from error
        _sweep(root)
        pending = shard.pending(
            root, shard.plan(videos, settings), description["settings_digest"], retry_failed=retry_failed
        )
        done = Counter[str]()
        if pending:
            done = _make_shards(root, pending, videos, settings, retry_failed, address, progress, lock)
            # Workers of a killed driver live some seconds longer than it, and may have left files since the first one.
            _sweep(root)
        else:
            log.info("nothing to do: %s already prepared", counted(videos.num_rows, "video"))
        lock.confirm()
        kept.remove(root)
        records = tables.write_records(root)
    result = _result(root, description["digest"], records, done, max_failed, time.monotonic() - started)
    if not result.ok:
        failure = records.slice(0, 1).to_pylist()[0]
        none = f"none of the {result.failed} videos of {source} can"
        if result.failed == 1:
            none = f"the only video of {source} cannot"
        raise UserError(
            f"{none} be used ({_by_kind(result.kinds)}); the first, {failure['video_id']}: {failure['message']}"
        )
    return result


def to_text(result: PrepareResult) -> str:
    """Return the result as text for the terminal."""
    rows = [("videos", f"{result.ok} of {result.ok + result.failed} ok")]
    rows += [(f"  {kind}", f"{count}") for kind, count in result.kinds.items()]
    rows += [
        ("frames", f"{result.frames}"),
        ("flow pairs", f"{result.pairs}"),
        ("size", f"{result.bytes / 1e6:.1f} MB"),
    ]
    if result.new_videos:
        rows.append(("time", f"{result.seconds:.1f} s, {result.pairs_per_s:.1f} pairs/s"))
    rows.append(("dataset", result.dataset))
    if result.failed:
        rows.append(("failures", f"reasons per video in {storage.join(result.dataset, 'records.parquet')}"))
    lines = columns(rows)
    if result.provisional:
        hold = counted(result.provisional, "shard holds", "shards hold")
        lines.append(f"{hold} transient failures: the same command tries them again")
    if result.too_many_failed:
        lines.append(f"more than {result.max_failed:.1%} of the videos failed (--max-failed)")
    return "\n".join(lines)


def listing(layout: str, source: str, group: str | None = None, group_column: str | None = None) -> manifest.Listing:
    """List the videos of a source, and log what is left out."""
    found = layouts.read(layout, source, group, group_column=group_column)
    for note in found.notes:
        log.info("%s", note)
    if found.ignored:
        log.info("ignored in %s: %s, such as %s", source, counted(len(found.ignored), "file"), found.ignored[0])
    return found


def _tables(found: manifest.Listing, settings: PrepareSettings) -> tuple[pa.Table, pa.Table]:
    videos, splits = manifest.build(found, settings)
    log.info("%s in %s", counted(videos.num_rows, "video"), counted(len(manifest.classes_of(videos)), "class"))
    names = splits["split"].unique().to_pylist()
    if manifest.SEEDED in names:
        grouped = videos["group"].null_count < videos.num_rows
        log.info(
            "the source has no split: making one named %r by %s, with seed %d%s",
            manifest.SEEDED,
            "group" if grouped else "video",
            settings.seed,
            "" if grouped or len(splits["part"].unique()) == 1 else _BY_VIDEO,
        )
    trained = splits.filter(pc.equal(splits["part"], "train"))["split"].unique().to_pylist()
    for name in sorted(set(names) - set(trained)):
        log.info("split %r has no train part: it is for evaluation only", name)
    return videos, splits


def _make_shards(
    root: str,
    pending: list[shard.ShardPlan],
    videos: pa.Table,
    settings: PrepareSettings,
    retry_failed: bool,
    address: str | None,
    progress: bool,
    lock: Lock,
) -> Counter[str]:
    # Imported only now, so that a call with nothing to do answers within a second.
    from cluster.attach import attach
    from pipelines.prepare.scheduler import Scheduler

    digest = shard.settings_digest(settings)
    before = kept.finished(root, pending, videos, digest, settings.max_sample_frames, retry_failed)
    settled, passing = set(before), set[int]()  # rows whose outcome is final, and those with a failure that may pass
    committed = videos.num_rows - sum(len(plan.rows) for plan in pending)
    all_are = counted(videos.num_rows, "video is", "videos are")
    if there := committed + len(before):
        log.info("%d of %s already prepared", there, all_are)
    attach(address)
    cpus = capacity.current_cpus()
    done = Counter[str]()
    with Progress(videos.num_rows - there, "video", before=there, shown=progress) as bar:

        def finished(pairs: int, video: FinishedVideo | None) -> None:
            lock.check()
            done["pairs"] += pairs
            if video is not None and video.new:
                done.update(videos=1, failed=int(video.record["status"] == "failed"))
            if video is not None:
                (passing if video.record["kind"] in TRANSIENT else settled).add(video.place.number)
            rate = done["pairs"] / bar.seconds
            note = f"{rate:.1f} pairs/s ({rate / cpus:.1f} per core), {done['failed']} failed"
            bar.update(0 if video is None or video.place.number in before else 1, note)

        try:
            Scheduler(root, pending, videos, settings, finished, retry_failed=retry_failed).run()
        except KeyboardInterrupt:
            stay = committed + _count_staying(pending, settled, passing)
            raise KeyboardInterrupt(
                f"interrupted; {stay} of {all_are} prepared and kept, and the same command resumes from there"
            ) from None
    return done


def _count_staying(pending: list[shard.ShardPlan], settled: set[int], passing: set[int]) -> int:
    """Count the videos of pending shards that the next call need not prepare.

    A shard that was committed with a failure that may pass is made again as a whole.
    """
    again = [
        plan for plan in pending if not passing.isdisjoint(plan.rows) and (settled | passing).issuperset(plan.rows)
    ]
    return len(settled) - sum(len(settled.intersection(plan.rows)) for plan in again)


def _sweep(root: str) -> None:
    for folder in ("shards", kept.FOLDER):
        storage.sweep(storage.join(root, folder))


def _result(
    root: str, digest: str, records: pa.Table, done: Counter[str], max_failed: float, seconds: float
) -> PrepareResult:
    kinds = Counter(kind for kind in records["kind"].to_pylist() if kind)
    again = records.filter(pc.is_in(records["kind"], pa.array(sorted(TRANSIENT))))
    return PrepareResult(
        dataset=root,
        digest=digest,
        ok=records.num_rows - kinds.total(),
        failed=kinds.total(),
        kinds=dict(kinds.most_common()),
        max_failed=max_failed,
        frames=sum(records["frames"].to_pylist()),
        pairs=sum(records["flows"].to_pylist()),
        bytes=shard.tar_bytes(root),
        new_videos=done["videos"],
        seconds=seconds,
        pairs_per_s=done["pairs"] / seconds,
        provisional=len(again["shard"].unique()),
    )


def _by_kind(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _refuse_inside(source: str, root: str) -> None:
    # The next call would take shards for videos.
    if f"{root}/".startswith(f"{source.rstrip('/')}/"):
        raise UserError(f"the output {root} lies inside the source {source}: choose a folder beside it")
