"""Size and cost of a network, counted as in the papers (docs/papers/README.md, section 2). Works on the meta device."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Cost(NamedTuple):
    """Multiply-accumulates of one forward pass in evaluation mode."""

    macs: int
    """Multiply-accumulates of convolutions, linear layers and matrix products."""
    batch_norm: int
    """2 per output element of batch norm, which many published tables add."""


def parameters(network: nn.Module) -> int:
    """Count every parameter once; buffers are not parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def cost(network: nn.Module, *clips: Tensor) -> Cost:
    """Count the cost of `network(*clips)`; the network stays in the mode it was in."""
    elements = 0

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal elements
        elements += output.numel()

    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = network.training
    network.eval()
    with torch.no_grad(), _Counter() as counter:
        network(*clips)
    network.train(training)
    for hook in hooks:
        hook.remove()
    return Cost(counter.flops // 2, 2 * elements)


_COUNTED_AS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: torch.ops.aten._scaled_dot_product_flash_attention
}
"""Operators for which torch has no formula, and which it counts under another name."""


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sum of torch's formulas over the operators that run; its FlopCounterMode decomposes all others, for seconds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        # On the meta device torch decomposes these two: 20 and 2 ms per call.
        if packet is torch.ops.aten.upsample_trilinear3d and args[0].is_meta:
            return args[0].new_empty(*args[0].shape[:2], *args[1])
        if packet is torch.ops.aten.native_batch_norm and args[0].is_meta:
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        out = func(*args, **kwargs)
        formula = flop_registry.get(_COUNTED_AS.get(packet, packet))
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        return out
