"""The checkpoints of a run: written while training goes on, kept or removed, gone on from, chosen."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.tracking import RunFolder
from tasks.data import storage

if TYPE_CHECKING:
    from pipelines.train.team import Team
    from tasks.learn.checkpoint import Snapshot

SCORE = "val/top1_percent"
"""Metric that the best checkpoint is chosen by; without it, as where there is no val part, the last one is chosen."""


def newest(folder: RunFolder, tell: Callable[[str], None]) -> str | None:
    """Return the newest undamaged checkpoint of a run; None where there are none, UserError where all are damaged."""
    from tasks.learn.checkpoint import newest_whole

    found = newest_whole(map(folder.checkpoint, folder.checkpoint_names()), tell)
    return found.name if found else None


def best(folder: RunFolder, tell: Callable[[str], None]) -> tuple[str, dict[str, float]]:
    """Return the best undamaged checkpoint of a run and its metrics; the later one of two that are equal."""
    from tasks.learn.checkpoint import DOCUMENT_FILE, newest_whole, read_metrics

    ranked = sorted(folder.checkpoint_names(), key=lambda name: _rank(folder, name, damaged=math.inf), reverse=True)
    chosen = newest_whole(map(folder.checkpoint, ranked), tell)
    assert chosen is not None  # the end of every epoch makes one
    found = read_metrics(chosen, (chosen / DOCUMENT_FILE).read_bytes())
    metrics = {name: value + 0.0 for name, value in found.items()}  # without the sign of a zero
    return chosen.name, {**metrics, "step": float(folder.checkpoint_step(chosen.name))}


def early_end(folder: RunFolder, epochs: int) -> str:
    """Return what is to be said of a training that has ended before its last epoch; nothing of others."""
    from tasks.learn.checkpoint import read_metrics

    newest = folder.checkpoint_names()[0]
    try:
        ended = read_metrics(Path(newest), folder.read_checkpoint_document(newest) or b"")["epoch"]
    except UserError:
        return ""
    return f"; stopped early, after epoch {ended:g} of {epochs}" if ended < epochs else ""


class Writer:
    """Has the checkpoints of a training written on rank 0 while training goes on, one at a time."""

    def __init__(self, folder: RunFolder, keep: int, team: Team) -> None:
        self._folder, self._keep, self._team = folder, max(1, keep), team
        self._idle = threading.Event()
        self._idle.set()
        self._refusal: UserError | None = None

    def report(self, metrics: dict[str, float], snapshot: Snapshot | None, step: int) -> None:
        """Report to the driver, on every rank; rank 0 has a snapshot to write.

        Waits while the one before is still being written, so that no more than two are in memory.
        """
        write = None
        if snapshot is not None:
            self._idle.wait()
            if self._refusal is not None:
                raise self._refusal
            self._idle.clear()
            write = partial(self._write, snapshot, step)
        self._team.report(metrics, self._folder.checkpoint_name(step), write)

    def _write(self, snapshot: Snapshot, step: int) -> None:
        try:
            store(self._folder, snapshot, self._folder.checkpoint_name(step))
            remove_old(self._folder, step, self._keep)
        except UserError as error:
            self._refusal = error
            raise
        finally:
            self._idle.set()

    def wait(self) -> None:
        """Wait until the last checkpoint is written."""
        self._idle.wait()


def store(folder: RunFolder, snapshot: Snapshot, name: str) -> None:
    """Write a checkpoint into a run's folder; UserError if the disk or the store refuses."""
    place = folder.place(name)
    if storage.is_local(place):
        snapshot.write(Path(place))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder.store_checkpoint(snapshot.write(Path(scratch, name)), name)


def remove_old(folder: RunFolder, step: int, keep: int) -> None:
    """Remove all checkpoints but the `keep` newest ones up to a step, and the best.

    Later ones are damaged, as this training would have gone on from them: it replaces them as it gets there.
    """
    names = [name for name in folder.checkpoint_names() if folder.checkpoint_step(name) <= step]
    kept = {*names[:keep], max(names, key=lambda name: _rank(folder, name, damaged=-math.inf))}
    for name in names:
        if name not in kept:
            folder.remove_checkpoint(name)


def _rank(folder: RunFolder, name: str, damaged: float) -> tuple[float, int]:
    from tasks.learn.checkpoint import read_metrics

    content = folder.read_checkpoint_document(name) or b""
    try:
        score = read_metrics(Path(name), content).get(SCORE, -1.0)
    except UserError:
        score = damaged
    return score, folder.checkpoint_step(name)
