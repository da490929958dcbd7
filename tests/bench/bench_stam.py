"""STAM: training step and memory beside TAda2D and ResNet-50, and the equivalent forms of its convolution.

    .venv/bin/python tests/bench/bench_stam.py [--repeats 5]

One thread, CPU time, medians; variants take turns.
"""

from functools import partial

import bench_models
import torch
import torch.nn.functional as F
from bench_models import in_a_process, peak_growth, seconds, step
from torch import Tensor

import models
from models.stam.calibrated_conv import by_patches, by_weights
from tasks.learn import host

NETWORKS = ("tsn", "tada2d", "stam")
CASES = [("full", 1, 8, 224), ("tiny", 16, 8, 56)]
SHAPES = [
    *(
        (8, 64, 56, 1),
        (8, 128, 56, 2),
        (8, 128, 28, 1),
        (8, 256, 28, 2),
        (8, 256, 14, 1),
        (8, 512, 14, 2),
        (8, 512, 7, 1),
    ),
    *((128, 16, 14, 1), (128, 32, 7, 1), (128, 48, 4, 1), (128, 64, 2, 1)),
]
"""Frames, channels, side and stride of the convolutions of a ResNet-50 at 224, and of the tiny one at 56."""


def grown(name: str, tiny: bool, shape: tuple[int, ...]) -> float:
    """Peak memory in MB that one training step adds to its network, in a process that has not trained before."""
    host.tune_allocator(threads=1)
    network = models.build(name, 16, tiny=tiny)
    clip, labels = torch.randn(shape), torch.zeros(shape[0], dtype=torch.int64)
    return peak_growth(lambda: network.losses(clip, labels)["total"].backward())


def steps(repeats: int) -> None:
    print(
        "| network | clips x frames x size | STAM / TAda2D step | STAM / ResNet step | STAM / TAda2D memory |", end=""
    )
    print(" ms per clip: ResNet, TAda2D, STAM | MB |\n|---|---|---|---|---|---|---|")
    for size, batch, frames, side in CASES:
        shape = (batch, 3, frames, side, side)
        tiny = size == "tiny"
        tsn, tada, stam = seconds([step(name, tiny, torch.randn(shape)) for name in NETWORKS], repeats)
        memory = [in_a_process(f"bench_stam.grown({name!r}, {tiny}, {shape})") for name in NETWORKS]
        times = ", ".join(f"{1e3 * value / batch:.1f}" for value in (tsn, tada, stam))
        print(
            f"| {size} | {batch} x {frames} x {side} | **{stam / tada:.2f}** | **{stam / tsn:.2f}** | "
            f"**{memory[2] / memory[1]:.2f}** | {times} | {', '.join(f'{value:.0f}' for value in memory)} |",
            flush=True,
        )


def static(x: Tensor, alpha: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Run the convolution without calibration."""
    return F.conv2d(x, weight, stride=stride, padding=1) + 0 * alpha.sum()


def run(form: object, x: Tensor, alpha: Tensor, weight: Tensor, stride: int) -> None:
    y = form(x, alpha, weight, stride)  # type: ignore[operator]
    torch.autograd.grad(y, (x, alpha, weight), torch.ones_like(y))


def forms(repeats: int) -> None:
    print("\n| frames, channels, side, stride | static ms | weights / static | patches / static |\n|---|---|---|---|")
    for frames, channels, side, stride in SHAPES:
        x = torch.randn(frames, channels, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()
        alpha = torch.rand(frames, channels, 3, 3, requires_grad=True)
        weight = torch.randn(channels, channels, 3, 3, requires_grad=True)
        runs = [partial(run, form, x, alpha, weight, stride) for form in (static, by_weights, by_patches)]
        base, weights, patches = seconds(runs, repeats)
        case = f"{frames}, {channels}, {side}, {stride}"
        print(f"| {case} | {1e3 * base:.1f} | {weights / base:.2f} | {patches / base:.2f} |", flush=True)


if __name__ == "__main__":
    bench_models.run(__doc__, 5, steps, forms)
