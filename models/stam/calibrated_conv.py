"""3x3 convolution whose weights are scaled for each frame: y = conv(x, alpha * W).

Equation (4) of docs/papers/stam.md, section 3. Three equivalent forms, none of which is always the fastest
(tests/bench/bench_stam.py, docs/results.md):

* `weights`: scale the weights for each frame; one grouped convolution. Cost grows with C * C', not with the map.
* `patches`: scale the patches of each frame (modulated im2col); one product with the static weights. Cost grows with
  the map.
* `input`: scale the input by a factor that all taps share; only the static convolution is left.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS_UP_TO = 4
"""Output channels per position of the map up to which scaling weights is cheaper than scaling patches, on a CPU."""


def calibrated_conv(x: Tensor, alpha: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve each frame with its own weights, padded by 1.

    Args:
        x: [B*T, C, h, w].
        alpha: [B*T, C, 3, 3], or [B*T, C, 1, 1] for the same factor at all taps; float32 under autocast too.
        weight: [C', C, 3, 3].
        stride: stride of the convolution.

    Returns:
        [B*T, C', h/stride, w/stride], in channels-last memory.
    """
    if alpha.shape[2:] == (1, 1):
        return by_input(x, alpha, weight, stride)
    if torch.compiler.is_exporting():  # the number of groups of a convolution cannot be dynamic in an exported graph
        return by_patches(x, alpha, weight, stride)
    height, width = _map_size(x, stride)
    form = by_weights if weight.shape[0] < WEIGHTS_UP_TO * height * width else by_patches
    return form(x, alpha, weight, stride)


def by_input(x: Tensor, alpha: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Scale the input by factors [B*T, C, 1, 1]."""
    return F.conv2d((x * alpha).to(x.dtype), weight, stride=stride, padding=1)


def by_weights(x: Tensor, alpha: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Scale the weights for each frame."""
    frames, channels, height, width = x.shape
    each = (alpha[:, None] * weight).to(x.dtype).flatten(0, 1)
    y = F.conv2d(x.reshape(1, frames * channels, height, width), each, stride=stride, padding=1, groups=frames)
    return y.view(frames, -1, *y.shape[2:]).contiguous(memory_format=torch.channels_last)


def by_patches(x: Tensor, alpha: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Scale the patches of each frame."""
    height, width = _map_size(x, stride)
    factors = alpha.flatten(2).transpose(1, 2)  # [B*T, 9, C]
    kernel = weight.flatten(2).permute(2, 1, 0).to(x.dtype)  # [9, C, C']
    if torch.is_grad_enabled() and not torch.compiler.is_exporting():
        y: Tensor = _ScaledPatches.apply(x, factors, kernel, stride)  # type: ignore[no-untyped-call]
    else:
        y = _scaled(_patches(x, stride), factors).flatten(2) @ kernel.flatten(0, 1)
    return y.view(-1, height, width, y.shape[2]).permute(0, 3, 1, 2)


def _map_size(x: Tensor, stride: int) -> tuple[int, int]:
    """Return height and width of the convolution's output."""
    return -(-x.shape[2] // stride), -(-x.shape[3] // stride)


def _patches(x: Tensor, stride: int) -> Tensor:
    """[B*T, C, h, w] -> [B*T, h/stride * w/stride, 9, C]."""
    height, width = x.shape[2:]
    pixels = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    taps = [pixels[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)]
    return torch.stack(taps, 3).flatten(1, 2)


def _scaled(patches: Tensor, factors: Tensor) -> Tensor:
    return (patches * factors[:, None]).to(patches.dtype)


class _ScaledPatches(torch.autograd.Function):
    """The product of scaled patches and kernel, which saves neither of the two patch arrays for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor, kernel: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, factors, kernel)
        ctx.stride = stride
        return _scaled(_patches(x, stride), factors).flatten(2) @ kernel.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (grad,) = grads
        x, factors, kernel = ctx.saved_tensors
        patches = _patches(x, ctx.stride)
        of_kernel = _scaled(patches, factors).flatten(2).flatten(0, 1).t() @ grad.flatten(0, 1)
        of_scaled = (grad @ kernel.flatten(0, 1).t()).view(patches.shape)
        of_factors = torch.einsum("blkc,blkc->bkc", of_scaled.to(factors.dtype), patches.to(factors.dtype))
        of_x = _unpatch(_scaled(of_scaled, factors), x, ctx.stride)
        return of_x, of_factors, of_kernel.view(kernel.shape), None


def _unpatch(patches: Tensor, x: Tensor, stride: int) -> Tensor:
    """Apply the adjoint of `_patches`."""
    height, width = x.shape[2:]
    down, across = _map_size(x, stride)
    taps = patches.view(-1, down, across, 9, x.shape[1]).unbind(3)
    pixels = patches.new_zeros(len(x), height + 2, width + 2, x.shape[1])
    for number, tap in enumerate(taps):
        i, j = divmod(number, 3)
        pixels[:, i : i + height : stride, j : j + width : stride] += tap
    return pixels[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
