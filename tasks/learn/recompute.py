"""Less memory for more time: the inside of a network's blocks is computed again in the backward pass.

T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, by torch's non-reentrant checkpoints. A block is
computed again from the same input with the same random numbers, so that gradients have the same bits. It moves running
statistics again, too, which `RunningStatistics` has taken by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tasks.errors import UserError


def recompute(network: nn.Module) -> None:
    """Keep only what goes into each of the network's `trunk_blocks()`; UserError if it has none."""
    blocks: list[nn.Module] = network.trunk_blocks()  # type: ignore[operator]
    if not blocks:
        raise UserError(
            f"train.recompute: {type(network).__name__} has no blocks that could be computed again; set it to false"
        )
    for block in blocks:
        block.forward = _again(block.forward)


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments)
        return checkpoint(forward, *arguments, use_reentrant=False)

    return run
