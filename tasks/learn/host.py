"""The CPU and memory of a process that runs networks."""

from __future__ import annotations

import ctypes

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Of glibc's mallopt(3)."""


def tune_allocator(threads: int) -> None:
    """Give torch so many threads, and keep freed memory for the next step.

    glibc hands each large block back to the kernel when it is freed; the next step asks for the same blocks, and their
    page faults cost a CPU up to a quarter of a small network's step and two fifths of MTNet-M's pass (docs/results.md).
    The peak hardly grows, and a process that runs a network again and again is at its peak most of the time anyway.
    """
    torch.set_num_threads(threads)
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # another C library than glibc
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_TOP_PAD, 2**26)
