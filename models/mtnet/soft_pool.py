"""SoftPool over windows of 2 x 2 positions, which keeps its input alone for the way back.

A. Stergiou, R. Poppe, G. Kalliatakis, "Refining activation downsampling with SoftPool", ICCV 2021: the values of a
window weighed by their softmax, so that the result lies between their mean and their maximum. Both ways are operators
of torch, `marey::soft_pool` and `marey::soft_pool_backward`, for which a host may bring kernels of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def soft_pool(x: Tensor) -> Tensor:
    """[..., h, w] -> [..., h/2, w/2], both even; computed in float32 at least."""
    # Double precision is for checks; what is compiled or exported is to be steps that everybody knows.
    if x.dtype == torch.float64 or torch.compiler.is_compiling():
        return forward(x)
    pooled: Tensor = torch.ops.marey.soft_pool(x)
    return pooled


def forward(x: Tensor) -> Tensor:
    """What `marey::soft_pool` is where nothing faster is at hand."""
    return softmax_average(windows(x))


def backward(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of x from that of the pooled values: weight * (1 + value - pooled) of each."""
    values = windows(x)
    weights = softmax(values)
    values = values.to(weights.dtype)
    parts = weights * (1 + values - (weights * values).sum(0)) * gradient
    return parts.view(2, 2, *gradient.shape).movedim((0, 1), (-3, -1)).reshape(x.shape).to(x.dtype)


def windows(x: Tensor) -> Tensor:
    """[..., h, w] -> [4, ..., h/2, w/2]."""
    return torch.stack([x[..., row::2, column::2] for row in (0, 1) for column in (0, 1)])


def softmax_average(values: Tensor) -> Tensor:
    """[n, ...] -> [...]: each value weighed by its softmax."""
    return (softmax(values) * values).sum(0).to(values.dtype)


def softmax(values: Tensor) -> Tensor:
    """Over the first axis, in float32 at least."""
    return values.softmax(0, dtype=torch.promote_types(values.dtype, torch.float32))


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, gradient: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors
    if torch.is_grad_enabled():  # the gradient itself is to be differentiated: in steps that torch can follow
        return backward(x, gradient)
    of_x: Tensor = torch.ops.marey.soft_pool_backward(x, gradient)
    return of_x


torch.library.define("marey::soft_pool", "(Tensor x) -> Tensor")
torch.library.define("marey::soft_pool_backward", "(Tensor x, Tensor gradient) -> Tensor")
torch.library.impl("marey::soft_pool", "CompositeExplicitAutograd", forward)
torch.library.impl("marey::soft_pool_backward", "CompositeExplicitAutograd", backward)
torch.library.register_autograd("marey::soft_pool", _gradient, setup_context=_keep)
