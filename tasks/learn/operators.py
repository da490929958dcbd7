"""Operators of networks for which this host has kernels: torch calls these in place of the networks' own formulas.

`models` declares the operators, which are of torch's registry; neither package imports the other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.util import find_spec

import torch
from torch import Tensor

ROWS_A_THREAD = 4096
"""Fewer rows of windows are not worth another thread."""
_library = torch.library.Library("marey", "FRAGMENT")  # type: ignore[no-untyped-call]


@cache
def register() -> None:
    """From now on; a kernel is compiled, or loaded, when a network first asks for it. Without numba there are none."""
    if find_spec("numba") is None:
        return
    _library.impl("soft_pool", soft_pool, "CPU")  # type: ignore[no-untyped-call]
    _library.impl("soft_pool_backward", soft_pool_backward, "CPU")  # type: ignore[no-untyped-call]


def soft_pool(x: Tensor) -> Tensor:
    """[..., h, w] -> [..., h/2, w/2], both even."""
    from tasks.learn.native.kernels import pooler  # numba takes half a second

    pooled = x.new_empty(*x.shape[:-2], x.shape[-2] // 2, x.shape[-1] // 2, dtype=torch.float32)
    _each_row(partial(pooler(), _flat(x), _flat(pooled)), pooled)
    return pooled.to(x.dtype)


def soft_pool_backward(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of x."""
    from tasks.learn.native.kernels import differentiator

    of_x = x.new_empty(x.shape, dtype=torch.float32)
    _each_row(partial(differentiator(), _flat(x), _flat(gradient), _flat(of_x)), gradient)
    return of_x.to(x.dtype)


def _flat(x: Tensor) -> object:
    return x.detach().float().contiguous().view(-1).numpy()


def _each_row(work: Callable[[int, int, int], None], pooled: Tensor) -> None:
    """Call `work` with a begin and an end of rows and their width, on as many threads as torch has."""
    columns = pooled.shape[-1]
    rows = pooled.numel() // max(columns, 1)
    share = max(-(-rows // torch.get_num_threads()), ROWS_A_THREAD)
    if rows <= share:
        work(0, rows, columns)
        return
    begins = range(0, rows, share)
    for _ in _threads().map(lambda begin: work(begin, min(begin + share, rows), columns), begins):
        pass


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="marey-operators")
