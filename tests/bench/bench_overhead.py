"""What the loop costs over bare forward, backward and step with MLflow tracking on, and what checkpoints cost.

    .venv/bin/python tests/bench/bench_overhead.py [--repeats 5]

One worker, one thread; steps of the loop and bare ones take turns in one process. Ratios of their sums over an epoch,
with its reports; medians over epochs but the first. By wall clock, and by processor time, in which the thread that
sends metrics counts as the loop's.
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

Case = tuple[str, bool, int, int, int, int]
CASES: list[Case] = [("tsn", True, 8, 8, 112, 20), ("stm", True, 8, 8, 112, 20), ("tsn", False, 4, 8, 112, 4)]
"""Networks, whether tiny, with clips of a step, frames, size, and steps of an epoch."""
ALLOWED, CHECKPOINTS_ALLOWED = 1.03, 1.0


class Clock(NamedTuple):
    """Seconds, processor seconds of the thread that trains, and of this process."""

    wall: float
    thread: float
    process: float

    @classmethod
    def now(cls) -> Clock:
        return cls(time.perf_counter(), time.thread_time(), time.process_time())

    def __sub__(self, earlier: Clock) -> Clock:
        return Clock(*(mine - its for mine, its in zip(self, earlier, strict=True)))


class Bare:
    """Steps of a network without the loop."""

    def __init__(self, network: nn.Module, settings: TrainSettings) -> None:
        self._network, self._optimizer = network.train(), build_optimizer(network, settings)

    def step(self, batch: Batch) -> None:
        self._optimizer.zero_grad()
        self._network.losses(batch.clip, batch.labels)["total"].backward()  # type: ignore[operator]
        self._optimizer.step()


class Alternating:
    """A source of one step, again and again, that takes a bare step before each of the loop's."""

    def __init__(self, clips: int, frames: int, side: int, steps: int, bare: Bare) -> None:
        self._steps, self._bare = steps, bare
        rows = torch.zeros(clips, dtype=torch.int64)
        self._batch = Batch(torch.randn(clips, 3, frames, side, side), rows, [""] * clips, rows)
        self.epochs: list[tuple[list[Clock], list[Clock]]] = []
        """Of each epoch, the loop's steps and the bare ones."""
        self._since: Clock | None = None

    def steps(self, epoch: int) -> int:
        return self._steps

    def label_counts(self) -> torch.Tensor:
        return torch.tensor([len(self._batch.labels), *[1] * 99])

    def batches(self, epoch: int, rank: int, world: int, start_step: int) -> Generator[Portion, None, None]:
        self.epochs.append(([], []))
        for step in range(self._steps):
            self._end_of_step(first=step == 0)
            start = Clock.now()
            self._bare.step(self._batch)
            self._since = Clock.now()
            self.epochs[-1][1].append(self._since - start)
            yield Portion([self._batch], 0, 1, len(self._batch.labels))

    def _end_of_step(self, *, first: bool) -> None:
        """Note what the loop's last step took, with all until it asks for the next one: also the end of an epoch."""
        if self._since is not None:
            self.epochs[-2 if first else -1][0].append(Clock.now() - self._since)


def identity_of(name: str, tiny: bool) -> Identity:
    classes = [f"class {i}" for i in range(100)]
    return Identity(model=name, stream="rgb", options={"tiny": tiny}, classes=classes, recipe={}, dataset_digest="")


def overhead(case: Case, work: Path, repeats: int) -> tuple[float, float, float, float]:
    """Return the loop's time and processor time over those of the bare steps, and milliseconds of a step of each."""
    name, tiny, clips, frames, side, steps = case
    settings = TrainSettings(epochs=repeats + 2, batch_size=clips, micro_batches=1, lr=1e-4, schedule="constant")
    ours, theirs = (models.build(name, 100, tiny=tiny) for _ in range(2))
    source = Alternating(clips, frames, side, steps, Bare(theirs, settings))
    tracker = Tracker.start(str(work), "overhead", params={}, tags={}, key="overhead")
    with tracker, Outbox(str(work / "metrics"), tracker.uri, tracker.run_id) as outbox:

        def report(entry: Report) -> None:
            outbox.add(entry.metrics, entry.step)

        fit(ours, source, None, settings, report, identity=identity_of(name, tiny), checkpoints=False)
    told = [_ratios(*epoch) for epoch in source.epochs[1:-1]]  # the first warms up, the last one's end is not seen
    wall, cpu, ours_ms, bare_ms = (statistics.median(column) for column in zip(*told, strict=True))
    return wall, cpu, ours_ms, bare_ms


def _ratios(loop: list[Clock], bare: list[Clock]) -> tuple[float, float, float, float]:
    """Return what `overhead` does of one epoch: the thread that sends metrics is the loop's, whenever it works."""
    wall = [sum(step.wall for step in steps) for steps in (loop, bare)]
    own = [sum(step.thread for step in steps) for steps in (loop, bare)]
    beside = sum(step.process - step.thread for step in [*loop, *bare])
    ours_ms, bare_ms = (1000 * seconds / len(bare) for seconds in wall)
    return wall[0] / wall[1], (own[0] + beside) / own[1], ours_ms, bare_ms


def checkpoint(case: Case, work: Path, repeats: int) -> tuple[float, float]:
    """Seconds that a checkpoint blocks the loop, and processor seconds that its writing then takes beside it."""
    name, tiny, clips, frames, side, _ = case
    network = models.build(name, 100, tiny=tiny)
    optimizer = build_optimizer(network, TrainSettings())
    network.losses(torch.randn(clips, 3, frames, side, side), torch.zeros(clips, dtype=torch.int64))["total"].backward()  # type: ignore[operator]
    optimizer.step()
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
        name, tiny, clips, frames, side, _ = case
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
