"""MTNet: what reducing frames and pixels adds to a forward pass, the pass beside a plain 3-D network of equal cost, and
what SoftPool saves by keeping only its input.

    .venv/bin/python tests/bench/bench_mtnet.py [--repeats 9]

One thread, CPU time, medians; variants take turns.
"""

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import bench_models
import torch
from bench_models import seconds
from torch import Tensor, nn

import models
from models.common.cost import cost
from models.mtnet import mtconv, soft_pool

SIZE, EQUAL = (224, 224), (192, 194)
"""Height and width of MTNet-M's clip, and of that of its plain form (`ratio=None`), which then costs 0.5 % more."""


def network(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return models.build("mtnet_m", 200, **options).eval()


@torch.no_grad()
def forward(made: nn.Module, clip: Tensor) -> None:
    made(clip)


def every_second_position(x: Tensor, kind: str, *, pairs: bool) -> Tensor:
    """Return the shape of `mtconv.pool` without its work."""
    return x[:, :, :, ::2, ::2] if max(x.shape[3:]) > 1 else x


def first_half(x: Tensor, compared: Tensor | None = None, *, lowest: bool = True, edges: bool = True) -> Tensor:
    """Return the shape of `mtconv.frame_selection` without its work."""
    return x[:, :, : x.shape[2] // 2] if x.shape[2] > 2 else x


def without(*names: str) -> Callable[[nn.Module, Tensor], None]:
    """The pass with these reductions replaced by slices."""
    free = {"pool": every_second_position, "frame_selection": first_half}

    def run(made: nn.Module, clip: Tensor) -> None:
        with patch.multiple(mtconv, **{name: free[name] for name in names}):
            forward(made, clip)

    return run


def passes(repeats: int) -> None:
    print("| clips | both reductions / slices | selection alone / slices | MTNet-M / plain | ms per clip | GMACs |")
    print("|---|---|---|---|---|---|")
    made, plain = network(), network(ratio=None)
    for clips in (1, 4):
        passes_of(made, plain, clips, repeats)


def passes_of(made: nn.Module, plain: nn.Module, clips: int, repeats: int) -> None:
    clip, smaller = torch.randn(clips, 3, 16, *SIZE), torch.randn(clips, 3, 16, *EQUAL)
    runs = [
        partial(forward, made, clip),
        partial(without("pool", "frame_selection"), made, clip),
        partial(without("pool"), made, clip),
        partial(forward, plain, smaller),
    ]
    whole, neither, selecting, dense = seconds(runs, repeats)
    ours, theirs = (cost(net, x[:1]).macs / 1e9 for net, x in ((made, clip), (plain, smaller)))
    ms = ", ".join(f"{1e3 * taken / clips:.0f}" for taken in (whole, neither, dense))
    print(
        f"| {clips} | **{whole / neither:.2f}** | **{selecting / neither:.2f}** | **{whole / dense:.2f}** | "
        f"{ms} | {ours:.2f}, {theirs:.2f} |",
        flush=True,
    )


def steps(repeats: int) -> None:
    """Time and saved tensors of a training step, with SoftPool's own gradient and with autograd's."""
    print("\n| own gradient / autograd's | saved tensors | step of MTNet-M | ms, MB per clip |\n|---|---|---|---|")
    for size, clips, side in (("tiny", 8, 64), ("full", 2, 112)):
        made = models.build("mtnet_m", 16, tiny=size == "tiny").train()
        clip = torch.randn(clips, 3, 16, side, side)
        variants = [partial(step, made, clip, pool) for pool in (soft_pool.soft_pool, soft_pool.forward)]
        ours, theirs = (1e3 * taken / clips for taken in seconds(variants, repeats))
        kept, by_autograd = (kept_mb(variant) / clips for variant in variants)
        print(
            f"| **{ours / theirs:.2f}** | **{kept / by_autograd:.2f}** | {size}, {clips} x 16 x {side} | "
            f"{ours:.0f}, {theirs:.0f}; {kept:.0f}, {by_autograd:.0f} |",
            flush=True,
        )


def step(made: nn.Module, clip: Tensor, pool: Callable[[Tensor], Tensor]) -> None:
    with patch.object(mtconv, "soft_pool", pool):
        made.losses(clip, torch.zeros(len(clip), dtype=torch.int64))["total"].backward()
    made.zero_grad()


def kept_mb(step: Callable[[], None]) -> float:
    """MB of the tensors that the forward pass saves for the backward pass."""
    sizes: list[int] = []

    def keep(x: Tensor) -> Tensor:
        sizes.append(x.nbytes)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        step()
    return sum(sizes) / 1e6


if __name__ == "__main__":
    bench_models.run(__doc__, 9, passes, steps)
