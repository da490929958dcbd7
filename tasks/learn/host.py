"""CPU threads and memory of a process that runs networks."""

from __future__ import annotations

import ctypes

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt(3)."""


def tune_allocator(threads: int) -> None:
    """Set torch's number of threads, and keep freed memory for the next step.

    glibc returns each large block to the kernel when it is freed; the next step allocates the same blocks, and their
    page faults take up to a quarter of a small network's step on a CPU and two fifths of MTNet-M's pass
    (docs/results.md). The peak hardly grows, and a process that runs a network repeatedly is near it most of the time.
    """
    torch.set_num_threads(threads)
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # not glibc
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_TOP_PAD, 2**26)
