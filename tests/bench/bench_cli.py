"""Start-up: `marey --help` under 0.5 s, `marey VERB --help` under 1 s."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from pipelines.cli import verbs

MAREY = Path(sys.executable).with_name("marey")
REPEATS = 5


def seconds(*words: str) -> float:
    """Median wall time of one command line, after one that warms the disk cache."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run([MAREY, *words], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    print("| seconds / allowed | command | seconds (median of 5) | allowed |\n|---|---|---|---|")
    rows = [("marey --help", seconds("--help"), 0.5)]
    rows += [(f"marey {verb} --help", seconds(verb, "--help"), 1.0) for verb in verbs()]
    for command, taken, allowed in rows:
        print(f"| {taken / allowed:.2f} | `{command}` | {taken:.3f} | {allowed} |")


if __name__ == "__main__":
    main()
