"""What keeping freed memory (`tasks.learn.host.tune_allocator`) saves a process that runs networks on a CPU.

    .venv/bin/python tests/bench/bench_host.py [--repeats 5]

One thread, CPU time, medians; each variant runs in its own process, in turns.
"""

import statistics

import bench_models
import torch
from bench_models import in_a_process, seconds, step

import models
from tasks.learn import host

STEPS = [("tsn", 16, 8, 56), ("stm", 16, 8, 56), ("tpn", 16, 8, 56)]
PASS = ("mtnet_m", 4, 16, 224)
"""Networks, tiny in training and whole in evaluation, with clips, frames and size."""


def measured(tuned: bool) -> list[float]:
    """CPU seconds of each case in this process."""
    if tuned:
        host.tune_allocator(threads=1)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, batch, frames, side = PASS
    network, clip = models.build(name, 200).eval(), torch.randn(batch, 3, frames, side, side)

    def run() -> None:
        with torch.no_grad():
            network(clip)

    small = [step(name, True, torch.randn(batch, 3, frames, side, side)) for name, batch, frames, side in STEPS]
    return [*seconds(small, 9), *seconds([run], 3)]


def processes(repeats: int) -> None:
    turns = [tuple(in_a_process(f"bench_host.measured({tuned})") for tuned in (False, True)) for _ in range(repeats)]
    print("| network | clips x frames x size | tuned / not | ms per clip |\n|---|---|---|---|")
    for index, (name, batch, frames, side) in enumerate([*STEPS, PASS]):
        usual, tuned = (statistics.median(turn[which][index] for turn in turns) for which in (0, 1))
        what = "pass" if (name, batch, frames, side) == PASS else "tiny, training step"
        print(
            f"| {name}, {what} | {batch} x {frames} x {side} | **{tuned / usual:.2f}** "
            f"| {1e3 * tuned / batch:.1f}, {1e3 * usual / batch:.1f} |"
        )


if __name__ == "__main__":
    bench_models.run(__doc__, 5, processes)
