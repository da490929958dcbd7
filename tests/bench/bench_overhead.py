"""What the loop costs over bare forward, backward and step with MLflow tracking on, and what checkpoints cost.

    .venv/bin/python tests/bench/bench_overhead.py [--repeats 5]

One worker, one thread; epochs of the loop and of the bare passes take turns in one process, medians of their ratios. An
epoch of the loop is the second of a training: the first pays for what a training pays for once. By wall clock, and by
processor time, in which the thread that sends metrics counts too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import models
from pipelines.tracking import Tracker
from pipelines.tracking.outbox import Outbox
from tasks.learn import host
from tasks.learn.batch import Batch, Portion
from tasks.learn.checkpoint import Identity, Position, State
from tasks.learn.loop import Report, fit
from tasks.learn.optim import build_optimizer
from tasks.learn.settings import TrainSettings

CASES = [("tsn", True, 8, 8, 112), ("stm", True, 8, 8, 112), ("tsn", False, 4, 8, 112)]
"""Networks, whether tiny, with clips of a step, frames and size."""
STEPS = 20
ALLOWED, CHECKPOINTS_ALLOWED = 1.03, 1.0


class Noise:
    """A source of one step, again and again."""

    def __init__(self, clips: int, frames: int, side: int) -> None:
        rows = torch.zeros(clips, dtype=torch.int64)
        self.batch = Batch(torch.randn(clips, 3, frames, side, side), rows, [""] * clips, rows)

    def steps(self, epoch: int) -> int:
        return STEPS

    def label_counts(self) -> torch.Tensor:
        return torch.tensor([len(self.batch.labels), *[1] * 99])

    def batches(self, epoch: int, rank: int, world: int, start_step: int) -> Generator[Portion, None, None]:
        for _ in range(STEPS):
            yield Portion([self.batch], 0, 1, len(self.batch.labels))


class Clock(NamedTuple):
    """Seconds, and processor seconds of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Clock:
        return cls(time.perf_counter(), time.process_time())

    def since(self) -> Clock:
        now = Clock.now()
        return Clock(now.wall - self.wall, now.cpu - self.cpu)


def bare(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> Clock:
    """Time of as many steps as an epoch has, without the loop."""
    network.train()
    start = Clock.now()
    for _ in range(STEPS):
        optimizer.zero_grad()
        network.losses(batch.clip, batch.labels)["total"].backward()  # type: ignore[operator]
        optimizer.step()
    return start.since()


def identity_of(name: str, tiny: bool) -> Identity:
    classes = [f"class {i}" for i in range(100)]
    return Identity(model=name, stream="rgb", options={"tiny": tiny}, classes=classes, recipe={}, dataset_digest="")


def overhead(case: tuple[str, bool, int, int, int], work: Path, repeats: int) -> tuple[float, float, float, float]:
    """Return the loop's time and processor time over those of the bare passes, and milliseconds of a step of each."""
    name, tiny, clips, frames, side = case
    source = Noise(clips, frames, side)
    settings = TrainSettings(epochs=2, batch_size=clips, micro_batches=1, lr=1e-4, schedule="constant")
    ours, theirs = (models.build(name, 100, tiny=tiny) for _ in range(2))
    optimizer = build_optimizer(theirs, settings)
    tracker = Tracker.start(str(work), "overhead", params={}, tags={}, key="overhead")
    times: list[tuple[Clock, Clock]] = []
    with tracker, Outbox(str(work / "metrics"), tracker.uri, tracker.run_id) as outbox:
        for turn in range(repeats + 1):
            ends: list[Clock] = []

            def report(entry: Report, turn: int = turn, ends: list[Clock] = ends) -> None:
                outbox.add(entry.metrics, 2 * turn * STEPS + entry.step)
                if entry.kind == "epoch":
                    ends.append(Clock.now())

            fit(ours, source, None, settings, report, identity=identity_of(name, tiny), checkpoints=False)
            first, last = ends
            loop = Clock(last.wall - first.wall, last.cpu - first.cpu)
            times.append((loop, bare(theirs, optimizer, source.batch)))
    times = times[1:]
    wall = statistics.median(loop.wall / passes.wall for loop, passes in times)
    cpu = statistics.median(loop.cpu / passes.cpu for loop, passes in times)
    ours_ms, bare_ms = (
        1000 * statistics.median(time.wall for time in column) / STEPS for column in zip(*times, strict=True)
    )
    return wall, cpu, ours_ms, bare_ms


def checkpoint(case: tuple[str, bool, int, int, int], work: Path, repeats: int) -> tuple[float, float]:
    """Seconds that a checkpoint blocks the loop, and processor seconds that its writing then takes beside it."""
    name, tiny, clips, frames, side = case
    network = models.build(name, 100, tiny=tiny)
    optimizer = build_optimizer(network, TrainSettings())
    bare(network, optimizer, Noise(clips, frames, side).batch)
    state = State(network, optimizer, torch.amp.GradScaler("cpu", enabled=False), Position())
    blocked, written = [], []
    for number in range(repeats + 1):
        start = time.perf_counter()
        snapshot = state.snapshot(identity_of(name, tiny), {})
        assert snapshot is not None
        blocked.append(time.perf_counter() - start)
        cpu = time.process_time()
        snapshot.write(work / f"checkpoint-{number}")
        written.append(time.process_time() - cpu)
    return statistics.median(blocked[1:]), statistics.median(written[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    host.tune_allocator(threads=1)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    torch.manual_seed(0)
    print(f"At most {ALLOWED} over bare passes; checkpoints once a minute at most {CHECKPOINTS_ALLOWED} %\n")
    print(
        "| loop / bare | by CPU time | network | loop ms a step | bare ms | a checkpoint a minute, % | blocked ms "
        "| written CPU ms |"
    )
    print("|---" * 8 + "|")
    for case in CASES:
        name, tiny, clips, frames, side = case
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu, loop, passes = overhead(case, Path(folder), repeats)
            blocked, written = checkpoint(case, Path(folder), repeats)
        what = f"{name}{', tiny' * tiny}, {clips} x {frames} x {side}"
        share = 100 * (blocked + written) / 60
        print(
            f"| **{wall:.3f}** | {cpu:.3f} | {what} | {loop:.1f} | {passes:.1f} | **{share:.2f}** "
            f"| {1e3 * blocked:.1f} | {1e3 * written:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
