"""What exact sums cost beside fast ones, and two workers beside two trainings of one: seconds of a step, peak memory.

    .venv/bin/python tests/bench/bench_sums.py [--repeats 9]

One thread a worker, medians of steps that take turns in the same processes; memory in processes of their own. Two
workers by gloo take steps of all clips together; "alone" each takes steps of half of them, as a training of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from bench_models import peak_kb

import models
from tasks.clips.order import deal
from tasks.learn import host
from tasks.learn.batch import Batch, Portion
from tasks.learn.settings import TrainSettings
from tasks.learn.update import Updates

CASES = [("tsn", False, 8, 8, 112), ("stm", True, 16, 8, 112)]
"""Networks, whether tiny, with clips of a step, frames and size."""
SHARES = 4
KINDS = ("exact", "fast")
ALONE = "alone"
SUMS_ALLOWED, WORKERS_ALLOWED = 1.05, 0.9


def updates_of(
    name: str, tiny: bool, clips: int, kind: str, group: dist.ProcessGroup | None, shares: int = SHARES
) -> Updates:
    """Return a network with its optimiser, ready for steps."""
    settings = TrainSettings(batch_size=clips, micro_batches=shares, sums=kind, lr=1e-3, schedule="constant")  # type: ignore[arg-type]
    torch.manual_seed(0)
    updates = Updates(models.build(name, 100, tiny=tiny), settings, torch.device("cpu"), group)
    updates.wrap()
    updates.model.train()
    return updates


def portion_of(clips: int, frames: int, side: int, rank: int, world: int, most: int = SHARES) -> Portion:
    """Return a worker's shares of a step of noise, which has so many at most."""
    (own,) = deal(np.arange(clips), [clips], rank, world, shares=most, smallest=2)
    shares = [
        Batch(
            torch.randn(len(part), 3, frames, side, side),
            torch.zeros(len(part), dtype=torch.int64),
            [""] * len(part),
            torch.zeros(len(part), dtype=torch.int64),
            number=number,
            fraction=len(part) / clips,
        )
        for number, part in enumerate(own.shares, own.first)
    ]
    return Portion(shares, own.first, own.of, own.count)


def worker(rank: int, world: int, store: str, case: int, kinds: list[str], repeats: int) -> None:
    """Take steps and print the seconds of each kind and this process's peak."""
    host.tune_allocator(threads=1)
    group = None
    if world > 1:
        dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)
        group = dist.group.WORLD
    name, tiny, clips, frames, side = CASES[case]
    together = portion_of(clips, frames, side, rank, world)
    alone = portion_of(clips // world, frames, side, 0, 1, SHARES // world)
    portions = [alone if kind == ALONE else together for kind in kinds]
    all_updates = [
        updates_of(name, tiny, clips // world, "exact", None, SHARES // world)
        if kind == ALONE
        else updates_of(name, tiny, clips, kind, group)
        for kind in kinds
    ]
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    Path("/proc/self/clear_refs").write_text("5")
    for number in range(repeats + 2):
        for kind, updates, portion in zip(kinds, all_updates, portions, strict=True):
            if group is not None:
                dist.barrier(group)
            start = time.perf_counter()
            updates.take(portion, number, 0.0, 1e-3)
            if number >= 2:
                taken[kind].append(time.perf_counter() - start)
    print(json.dumps({"seconds": taken, "peak": peak_kb() / 1024}))
    if group is not None:
        dist.destroy_process_group()


def run_workers(world: int, case: int, kinds: list[str], repeats: int) -> Any:
    """Return the seconds of each step of each kind, those of the slower worker, and the peak of the first."""
    with tempfile.TemporaryDirectory() as folder:
        calls = [
            f"import bench_sums; bench_sums.worker({rank}, {world}, {folder + '/store'!r}, {case}, {kinds}, {repeats})"
            for rank in range(world)
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        running = [
            subprocess.Popen(
                [sys.executable, "-c", call], cwd=Path(__file__).parent, stdout=subprocess.PIPE, env=environment
            )
            for call in calls
        ]
        said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a worker failed")
    each = [json.loads(line) for line in said]
    seconds = {
        kind: [max(step) for step in zip(*(one["seconds"][kind] for one in each), strict=True)] for kind in kinds
    }
    return {"seconds": seconds, "peak": each[0]["peak"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    print(
        f"Steps of {SHARES} shares, one thread a worker; medians of pairs of steps: exact at most {SUMS_ALLOWED} of "
        f"fast, and steps of trainings of their own at least {WORKERS_ALLOWED} of those together\n"
    )
    print("| exact / fast | alone / exact, fast | network | workers | exact ms | fast ms | peak MiB exact, fast |")
    print("|---" * 7 + "|")
    for case, (name, tiny, clips, frames, side) in enumerate(CASES):
        for world in (1, 2):
            both = run_workers(world, case, [*KINDS, *[ALONE] * (world > 1)], repeats)["seconds"]
            peaks = [run_workers(world, case, [kind], 2)["peak"] for kind in KINDS]
            ratio = statistics.median(one / other for one, other in zip(both["exact"], both["fast"], strict=True))
            exact, fast = (1000 * statistics.median(both[kind]) for kind in KINDS)
            apart = ", ".join(
                f"**{statistics.median(one / other for one, other in zip(both[ALONE], both[kind], strict=True)):.3f}**"
                for kind in KINDS * (world > 1)
            )
            what = f"{name}{', tiny' * tiny}, {clips} x {frames} x {side}"
            print(
                f"| **{ratio:.3f}** | {apart} | {what} | {world} | {exact:.0f} | {fast:.0f} "
                f"| {peaks[0]:.0f}, {peaks[1]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
