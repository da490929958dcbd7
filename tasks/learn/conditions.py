"""What the last bits of a training depend on beside its settings: processor, threads, packages, GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version

import torch

from tasks.errors import UserError

PACKAGES = ("numpy", "opencv-contrib-python")
"""Packages beside torch that make clips."""


def conditions(device: torch.device) -> dict[str, str]:
    """Return the conditions of this process; a checkpoint records them."""
    found = {
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        **_packages(),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def tell_changed(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Return one line on what differs between a checkpoint and this process; None where nothing does."""
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if not before or not names:
        return None
    was, are = (", ".join(f"{name} {found.get(name, 'none')}" for name in names) for found in (before, now))
    return f"the checkpoint was computed with {was}, and this worker has {are}: equal to rounding from here"


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Let a GPU use only what gives the same bits each time, where `on`; UserError where the network needs other."""
    if not on:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    cudnn, fill = torch.backends.cudnn, torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    filled = fill.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    fill.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # takes time, and finds only faults
    try:
        yield
    except RuntimeError as error:
        what, found, _ = str(error).partition(" does not have a deterministic implementation")
        if not found:
            raise
        raise UserError(
            f"train.deterministic: torch has no implementation of {what} for this device that gives the same bits each "
            "time: leave it out, or take another network"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]
        fill.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@cache
def _packages() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}
