"""What a user waits for beside the work itself: verbs from their command to what they are called for.

    .venv/bin/python tests/bench/bench_start.py [--repeats 3] [--only WORD]

Real commands on drawn videos and tiny networks. A training is timed to its first step, which rank 0 notes, and from its
last step to its end; one of two workers stands beside a bare Ray Train of two workers whose loop does nothing, timed
from the start of Python to the loop. A trial of a sweep takes the time from the first end of one to the last, by how
many end in it; its own steps, from the first to the last, are what it would take without the sweep.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

MAREY = str(Path(sys.executable).with_name("marey"))
FEW = 8
BARE = """
import sys, time, ray, ray.train
from ray.train.torch import TorchTrainer
ray.init(log_to_driver=False, logging_level=40, include_dashboard=False)
def loop(config):
    if ray.train.get_context().get_world_rank() == 0:
        open(config["began"], "w").write(str(time.time()))
TorchTrainer(
    loop,
    train_loop_config={"began": sys.argv[1]},
    scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
    run_config=ray.train.RunConfig(storage_path=sys.argv[2]),
).fit()
"""


@dataclass
class Bench:
    """A workspace with the demo's dataset, and the commands that are timed in it."""

    work: Path
    number: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.dataset = self.work / "demo/dataset"
        self.environment = os.environ | {"MAREY_WORK": str(self.work), "OMP_NUM_THREADS": "1"}
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            self.environment.pop(name, None)

    def prepare(self) -> None:
        """Draw the demo's videos, prepare and train on them once."""
        self.marey("demo", "--set", "train.epochs=1")

    def marey(self, *words: str | Path) -> float:
        """Seconds that a command takes."""
        start = time.time()
        done = subprocess.run([MAREY, *words], env=self.environment, capture_output=True, text=True, cwd=self.work)
        assert done.returncode == 0, done.stderr
        return time.time() - start

    @contextmanager
    def talking(self, *words: str | Path) -> Iterator[tuple[float, IO[str]]]:
        """When a command was given, and what it prints; ended with the context."""
        start = time.time()
        process = subprocess.Popen(
            [MAREY, *words],
            env=self.environment,
            cwd=self.work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout
        try:
            yield start, process.stdout
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()

    def name(self) -> str:
        """A name that no run of this workspace has yet."""
        return f"bench-{next(self.number)}"

    def training(self, *fields: str) -> tuple[float, float]:
        """Seconds from the command of a training to its first step, and from its last one to the end."""
        name = self.name()
        values = [f"name={name}", f"data.dataset={self.dataset}", "train.epochs=2", "train.log_every=1", *fields]
        start = time.time()
        self.marey("train", "demo_tsn", *(word for value in values for word in ("--set", value)))
        end = time.time()
        lines = [json.loads(line) for line in (self.work / "runs" / name / "progress.jsonl").read_text().splitlines()]
        steps = [line["time"] for line in lines if "step" in line]
        return steps[0] - start, end - steps[-1]

    def bare_train(self) -> float:
        """Seconds from the start of Python to the loop of a Ray Train of two workers that do nothing."""
        with tempfile.TemporaryDirectory() as folder:
            began = Path(folder, "began")
            start = time.time()
            words = [sys.executable, "-c", BARE, str(began), folder]
            done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return float(began.read_text()) - start

    def until(self, said: str, *words: str | Path) -> float:
        """Seconds from a command to the line that holds `said`."""
        with self.talking(*words) as (start, lines):
            for line in lines:
                if said in line:
                    return time.time() - start
        raise AssertionError(f"{words} never said {said}")

    def preparation(self) -> float:
        """Seconds to prepare a few videos of 16 frames with their flow."""
        source = self.work / self.name()
        for number, video in enumerate(sorted((self.work / "demo/videos/train").rglob("*.mp4"))[::40][:FEW]):
            target = source / str(number % 2) / f"{number}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(video)
        return self.marey("prepare", source, self.work / self.name(), "--short-side", "64")

    def sweep(self, trials: int, *fields: str) -> tuple[float, float]:
        """Seconds of a core that each trial of a sweep takes, and those from its first step to its last one."""
        name, cpus, ends = self.name(), os.cpu_count() or 1, []
        values = [f"name={name}", f"data.dataset={self.dataset}", f"search.trials={trials}", "search.scheduler=none"]
        words = [word for value in [*values, *fields] for word in ("--set", value)]
        with self.talking("tune", "demo_tsn", *words, "--set", "train.log_every=1") as (_, lines):
            for line in lines:
                if " trial " in line:
                    assert "failed" not in line, line
                    ends.append(time.time())
        assert len(ends) == trials
        own = []
        for path in (self.work / "runs").glob(f"{name}.*/progress.jsonl"):
            steps = [entry["time"] for line in path.read_text().splitlines() if "step" in (entry := json.loads(line))]
            own.append(steps[-1] - steps[0])
        at_once = 1 if "search.concurrent=1" in fields or "compute.workers=2" in fields else cpus
        return (ends[-1] - ends[0]) / (trials - at_once) * at_once, statistics.median(own)


@dataclass(frozen=True)
class Row:
    """What was measured, beside what is allowed; in seconds."""

    what: str
    taken: float
    allowed: float
    each: str

    def __str__(self) -> str:
        return (
            f"| {self.taken / self.allowed:.2f} | {self.what} | {self.taken:.1f} | {self.allowed:.1f} | {self.each} |"
        )


def timed(what: str, allowed: float, measure: Callable[[], float], repeats: int) -> Row:
    """Measure several times; the median counts."""
    times = [measure() for _ in range(repeats)]
    return Row(what, statistics.median(times), allowed, ", ".join(f"{one:.1f}" for one in times))


def alone(bench: Bench, repeats: int) -> Iterator[Row]:
    pairs = [bench.training("compute.workers=1") for _ in range(repeats)]
    first, rest = zip(*pairs, strict=True)
    yield timed("`marey train` of one worker to its first step", 12.0, iter(first).__next__, repeats)
    yield timed("its last step to its end", 5.0, iter(rest).__next__, repeats)


def of_two(bench: Bench, repeats: int) -> Iterator[Row]:
    bare, ours = [], []
    for _ in range(repeats):
        bare.append(bench.bare_train())
        ours.append(bench.training("compute.workers=2")[0])
    start = statistics.median(bare)
    yield Row("a bare Ray Train of two workers to its loop", start, start, ", ".join(f"{one:.1f}" for one in bare))
    yield timed("`marey train` of two workers to its first step", start + 3, iter(ours).__next__, repeats)


def verbs(bench: Bench, repeats: int) -> Iterator[Row]:
    yield timed(f"`marey prepare` of {FEW} videos", 8.0, bench.preparation, repeats)
    yield timed("`marey evaluate` of the demo's test part", 12.0, lambda: bench.marey("evaluate", "demo-tsn"), repeats)
    words = ("ui", "--port", "0", "--no-login")
    yield timed("`marey ui` to its address", 8.0, lambda: bench.until("http://", *words), repeats)


def submit(bench: Bench, repeats: int) -> Iterator[Row]:
    bench.marey("cluster", "up", "--local", "1")
    try:
        words = ("submit", "--", "verify", bench.dataset)
        what = "`marey submit` to the first line of its job"
        yield timed(what, 10.0, lambda: bench.until("no difference", *words), repeats)
    finally:
        down = bench.marey("cluster", "down")
    yield Row("`marey cluster down`", down, 10.0, f"{down:.1f}")


def sweeps(bench: Bench, repeats: int) -> Iterator[Row]:
    taken, own = bench.sweep(32, "compute.workers=1", "train.epochs=1")
    yield Row("each of 32 trials of one worker beyond its steps", taken - own, 2.0, f"its steps take {own:.1f}")
    taken, own = bench.sweep(3, "compute.workers=1", f"train.epochs={LONG}", "search.concurrent=1")
    yield Row("each of 3 longer trials, one at once", taken, 1.15 * own, f"its steps take {own:.1f}")
    start = statistics.median(bench.bare_train() for _ in range(repeats))
    taken, own = bench.sweep(4, "compute.workers=2", "train.epochs=1")
    words = f"a bare Ray Train takes {start:.1f}, its steps {own:.1f}"
    yield Row("each of 4 trials of two workers beyond its steps", taken - own, start + 3, words)


LONG = 6
"""Epochs of a training of some 20 s."""
PARTS = {"alone": alone, "two": of_two, "verbs": verbs, "submit": submit, "sweeps": sweeps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.prepare()
        print("| seconds / allowed | what | seconds (median) | allowed | each |\n|---|---|---|---|---|")
        for part in arguments.only:
            for row in PARTS[part](bench, arguments.repeats):
                print(row, flush=True)


if __name__ == "__main__":
    main()
