"""DSTS: evaluation by one neuron per sample beside all of them, and a step with UDL beside a plain one.

    .venv/bin/python tests/bench/bench_dsts.py [--repeats 5]

One thread, CPU time, medians; variants take turns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import bench_models
import torch
from bench_models import in_a_process, peak_growth, seconds
from torch import Tensor, nn

import models
from models.dsts.specialization import DSTS, SpecializationSettings
from tasks.learn import host
from tasks.learn.batch import Batch, Portion

CASES = [("full", 4, 8, 224), ("tiny", 16, 8, 64)]
LR = 0.01


def head(neurons: int, *, dense: bool = False) -> DSTS:
    """The module after TPN, with samples routed to different neurons."""
    torch.manual_seed(0)
    made = DSTS(2048, SpecializationSettings(n_neurons=neurons, dense_eval=dense, zero_init_out=False)).eval()
    for layer in made.layers:
        nn.init.normal_(layer.scoring, std=3.0)
    return made


@torch.no_grad()
def evaluate(module: DSTS, x: Tensor) -> None:
    module(x)


def evaluation(repeats: int) -> None:
    print("| batch | N = 10 / N = 1 | all of 10 / the chosen one | neurons in use by layer | ms per sample, N = 10 |")
    print("|---|---|---|---|---|")
    for batch in (1, 16):
        x = torch.randn(batch, 2048, 8, 7, 7) + 3 * torch.randn(batch, 2048, 1, 1, 1)
        heads = [head(10), head(1), head(10, dense=True)]
        ten, one, every = seconds([partial(evaluate, module, x) for module in heads], repeats)
        with torch.no_grad():
            used = [len(layer.unique()) for layer in heads[0].trace(x)[1]]
        print(
            f"| {batch} | **{ten / one:.2f}** | **{every / ten:.2f}** | {', '.join(map(str, used))} | "
            f"{1e3 * ten / batch:.1f} |",
            flush=True,
        )


@dataclass(frozen=True)
class _Share:
    train: Batch
    held_out: Batch

    def draw(self, name: str) -> None:
        torch.manual_seed(len(name))


def step(size: str, shape: tuple[int, ...], udl: bool) -> Callable[[], None]:
    """Make a step like the loop's, on all samples or on two halves."""
    torch.manual_seed(0)
    count = shape[0]
    network = models.build("dsts_tpn", 16, tiny=size == "tiny", udl=udl)
    labels = torch.arange(count) % 16
    batch = Batch(torch.randn(shape), labels, [""] * count, torch.zeros(count))
    halves = Portion([batch], 0, 1, count).halves()

    def plain(samples: Batch) -> None:
        network.losses(samples.clip, samples.labels)["total"].backward()
        network.zero_grad()

    def both() -> None:
        train, held_out = (half.shares[0] for half in halves)
        network.gradients([_Share(train, held_out)], lambda shares, like: next(iter(shares)), lr=LR)
        network.zero_grad()
        plain(train)

    return both if udl else partial(plain, batch)


def grown(size: str, shape: tuple[int, ...], udl: bool) -> float:
    """Peak memory in MB that a step adds to its network, in a process that has not trained before."""
    host.tune_allocator(threads=1)
    return peak_growth(step(size, shape, udl))


def learning(repeats: int) -> None:
    print(
        "\n| network | clips x frames x size | UDL / plain step | UDL / plain memory | s per step | MB |\n"
        + "|---" * 6
        + "|"
    )
    for size, batch, frames, side in CASES:
        shape = (batch, 3, frames, side, side)
        udl, plain = seconds([step(size, shape, True), step(size, shape, False)], repeats)
        memory = [in_a_process(f"bench_dsts.grown({size!r}, {shape}, {kind})") for kind in (True, False)]
        print(
            f"| {size} | {batch} x {frames} x {side} | **{udl / plain:.2f}** | **{memory[0] / memory[1]:.2f}** | "
            f"{udl:.2f}, {plain:.2f} | {memory[0]:.0f}, {memory[1]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    bench_models.run(__doc__, 5, evaluation, learning)
