"""Attention with a bias, written out and as torch's fused operator (docs/papers/backbones.md, section 5).

The two are equal to rounding; `attend` takes the faster one (tests/bench/bench_swin.py, docs/results.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Compute softmax(query key^T / sqrt(d) + bias) value.

    Args:
        query: [B, windows, heads, n, d], and so are key, value and result.
        key: what the logits compare with.
        value: what is averaged.
        bias: [heads, n, n], or [windows, heads, n, n].
    """
    # On a CPU the fused form has no gradient for a bias: a training step gains nothing by it.
    form = written if torch.is_grad_enabled() or torch.compiler.is_exporting() else fused
    return form(query, key, value, bias)


def written(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Write all logits to memory."""
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(3, 4) + bias
    return logits.softmax(-1) @ value


def fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Hold the logits of a block at a time."""
    # The operator has two axes before those of the product: a bias for all windows leaves out the first.
    first = 0 if bias.dim() == 3 else 1
    query_, key_, value_ = (part.flatten(first, first + 1) for part in (query, key, value))
    mask = bias.to(query.dtype).view(1, -1, *bias.shape[-2:])
    return F.scaled_dot_product_attention(query_, key_, value_, attn_mask=mask).view(query.shape)
