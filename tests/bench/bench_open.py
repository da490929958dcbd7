"""Opening a prepared dataset of a million samples: seconds, and peak memory of a process that does nothing else.

.venv/bin/python tests/bench/bench_open.py [--videos 1000000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from many_samples import write_many

from tasks.data import open_dataset

SECONDS_ALLOWED, MIB_ALLOWED = 10, 400


def opened(root: str) -> tuple[float, float, float, int]:
    """Return seconds, CPU seconds, peak MiB of this process, and samples."""
    begin, cpu = time.perf_counter(), time.process_time()
    dataset = open_dataset(root)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return seconds, cpu, int(peak.split()[1]) / 1024, sum(dataset.parts.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    from bench_models import in_a_process  # not in the process that is measured: it imports torch

    with tempfile.TemporaryDirectory() as folder:
        root = write_many(f"{folder}/data", arguments.videos)
        runs = [in_a_process(f"bench_open.opened({root!r})") for _ in range(arguments.repeats)]
    seconds, cpu, peak, samples = map(statistics.median, zip(*runs, strict=True))
    print(
        "| seconds / allowed | MiB / allowed | samples | seconds | CPU seconds | peak MiB |\n|---|---|---|---|---|---|"
    )
    print(f"| {seconds / SECONDS_ALLOWED:.2f} | {peak / MIB_ALLOWED:.2f} | {samples:,} ", end="")
    print(f"| {seconds:.1f} | {cpu:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
