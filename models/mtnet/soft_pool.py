"""SoftPool over windows of 2 x 2 positions, which saves only its input for the backward pass.

A. Stergiou, R. Poppe, G. Kalliatakis, "Refining activation downsampling with SoftPool", ICCV 2021: the values of a
window weighted by their softmax, so that the result lies between their mean and their maximum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def soft_pool(x: Tensor) -> Tensor:
    """[..., h, w] -> [..., h/2, w/2], both even; computed in float32 at least."""
    # What is compiled or exported must consist of operators that every runtime knows.
    if torch.compiler.is_compiling():
        return forward(x)
    pooled: Tensor = _SoftPool.apply(x)  # type: ignore[no-untyped-call]
    return pooled


class _SoftPool(torch.autograd.Function):
    """SoftPool with its gradient written out: torch's own would save four arrays of the input's size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return forward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return backward(x, *grads)


def forward(x: Tensor) -> Tensor:
    """Pool under torch's autograd: [..., h, w] -> [..., h/2, w/2]."""
    return softmax_average(windows(x))


def backward(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of x given that of the pooled values: weight * (1 + value - pooled), in float32 at least."""
    values = windows(x)
    weights = softmax(values)
    values = values.to(weights.dtype)
    parts = weights * (1 + values - (weights * values).sum(0)) * gradient
    return parts.view(2, 2, *gradient.shape).movedim((0, 1), (-3, -1)).reshape(x.shape).to(x.dtype)


def windows(x: Tensor) -> Tensor:
    """[..., h, w] -> [4, ..., h/2, w/2]."""
    return torch.stack([x[..., row::2, column::2] for row in (0, 1) for column in (0, 1)])


def softmax_average(values: Tensor) -> Tensor:
    """[n, ...] -> [...]: each value weighted by its softmax."""
    return (softmax(values) * values).sum(0).to(values.dtype)


def softmax(values: Tensor) -> Tensor:
    """Take the softmax over the first axis, in float32 at least."""
    return values.softmax(0, dtype=torch.promote_types(values.dtype, torch.float32))
