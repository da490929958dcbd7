"""Swin's attention written out and fused, in a pass and in a training step, and a pass of the whole network with each.

    .venv/bin/python tests/bench/bench_swin.py [--repeats 5]

One thread, CPU time, medians; the forms take turns. Memory is the growth of a process's peak.
"""

from collections.abc import Callable

import bench_models
import torch
from bench_models import in_a_process, peak_growth, seconds
from torch import Tensor, nn

import models
from models.backbones import attention, swin3d
from models.backbones.swin3d import Swin3DOptions, Window, WindowAttention
from tasks.learn import host

FORMS = ("written", "fused")
STAGES = [(128, 4, 56), (512, 16, 14), (1024, 32, 7)]
"""Channels, heads and side of the first, third and last stage at 224 pixels; 16 frames are 8 positions."""


def use(form: str) -> None:
    """Let every attention take this form."""
    swin3d.attend = getattr(attention, form)


def layer(channels: int, heads: int, shifted: bool) -> tuple[nn.Module, Callable[[int], Tensor]]:
    torch.manual_seed(0)
    window = Window(*Swin3DOptions().window)
    return WindowAttention(channels, heads, window, shifted=shifted), lambda side: torch.randn(
        1, 8, side, side, channels
    )


def a_pass(module: nn.Module, x: Tensor, form: str) -> Callable[[], Tensor]:
    def run() -> Tensor:
        use(form)
        with torch.no_grad():
            y: Tensor = module(x)
        return y

    return run


def a_step(module: nn.Module, x: Tensor, form: str) -> Callable[[], None]:
    def run() -> None:
        use(form)
        module(x.requires_grad_()).sum().backward()
        module.zero_grad()

    return run


def grown(channels: int, heads: int, side: int, shifted: bool, form: str) -> float:
    """Peak memory in MB that a pass adds, in a process that has made none."""
    host.tune_allocator(threads=1)
    module, clip = layer(channels, heads, shifted)
    return peak_growth(a_pass(module, clip(side), form))


def layers(repeats: int) -> None:
    print(
        "| channels x side, shifted | fused / written pass | fused / written step | pass ms, MB: written, fused |",
        end="",
    )
    print(" largest difference |\n|---|---|---|---|---|")
    for channels, heads, side in STAGES:
        for shifted in (False, True):
            module, clip = layer(channels, heads, shifted)
            x = clip(side)
            passes = [a_pass(module, x, form) for form in FORMS]
            written, fused = seconds(passes, repeats)
            step_written, step_fused = seconds([a_step(module, x, form) for form in FORMS], repeats)
            memory = [in_a_process(f"bench_swin.grown({channels}, {heads}, {side}, {shifted}, {f!r})") for f in FORMS]
            difference = (passes[0]() - passes[1]()).abs().max().item()
            print(
                f"| {channels} x {side}, {'yes' if shifted else 'no'} | **{fused / written:.2f}** | "
                f"**{step_fused / step_written:.2f}** | {1e3 * written:.0f}, {memory[0]:.0f}; {1e3 * fused:.0f}, "
                f"{memory[1]:.0f} | {difference:.1e} |",
                flush=True,
            )


def network(repeats: int) -> None:
    print("\n| network | fused / written pass | s per clip: written, fused | difference / logit |\n|---|---|---|---|")
    torch.manual_seed(0)
    swin, clip = models.build("swin3d_b", 400).eval(), torch.randn(1, 3, 16, 224, 224)
    passes = [a_pass(swin, clip, form) for form in FORMS]
    written, fused = seconds(passes, repeats)
    logits = passes[0]()
    difference = ((logits - passes[1]()).abs().max() / logits.abs().max()).item()
    print(
        f"| swin3d_b, 1 x 16 x 224 | **{fused / written:.2f}** | {written:.2f}, {fused:.2f} | {difference:.1e} |",
        flush=True,
    )


if __name__ == "__main__":
    bench_models.run(__doc__, 5, layers, network)
