"""Several workers: DistributedDataParallel and the collectives of the loop.

Everywhere a `group` of None means one worker without torch.distributed.
"""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parallel import DistributedDataParallel

from tasks.learn.batch import Batch


class Losses(nn.Module):
    """A module whose forward is the network's `losses`.

    DistributedDataParallel synchronises gradients only in its own forward: `ddp.module.losses(...)` would silently skip
    it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, share: Batch | None) -> dict[str, Tensor]:
        """Return the network's training losses; only networks that predict flow get it.

        Without a share, the loss has gradients of zero for all parameters.
        """
        if share is None:
            return {"total": torch.stack([(p * torch.zeros_like(p)).sum() for p in trainable(self.network)]).sum()}
        more = {} if share.flow is None else {"flow": share.flow}
        losses: dict[str, Tensor] = self.network.losses(share.clip, share.labels, **more)  # type: ignore[operator]
        return losses


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that get gradients."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def rank_and_world(group: ProcessGroup | None) -> tuple[int, int]:
    """Return this worker's rank and the number of workers."""
    return (0, 1) if group is None else (dist.get_rank(group), dist.get_world_size(group))


def wrap(network: nn.Module, device: torch.device, group: ProcessGroup | None, *, average: bool) -> nn.Module:
    """Return the module to call for losses, with the weights of rank 0; with `average` it averages gradients."""
    losses = Losses(network)
    if group is None:
        return losses
    if not average:
        share_out(network.state_dict().values(), group)
        return losses
    for parameter in trainable(network):
        parameter.register_hook(_as_laid_out(parameter))  # type: ignore[no-untyped-call]
    device_ids = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():  # its successor would still send the buffers once
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(
            losses, device_ids=device_ids, process_group=group, gradient_as_bucket_view=True, broadcast_buffers=False
        )


@torch.no_grad()
def share_out(values: Iterable[Tensor], group: ProcessGroup | None) -> None:
    """Set tensors to those of rank 0."""
    if group is not None:
        for value in values:
            dist.broadcast(value, group=group, group_src=0)


def laid_out(gradient: Tensor, like: Tensor) -> Tensor:
    """Return a gradient in the memory layout of its parameter.

    Sums over all elements have other bits in another layout, and DistributedDataParallel warns of one.
    """
    return gradient if gradient.stride() == like.stride() else torch.empty_like(like).copy_(gradient)


def without_sync(model: nn.Module, skip: bool) -> AbstractContextManager[None]:
    """Return the context of a forward and backward pass; with `skip`, its gradients are averaged later."""
    if skip and isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def _as_laid_out(parameter: nn.Parameter) -> Callable[[Tensor], Tensor]:
    shape = parameter.detach()  # without a reference to the parameter, which would hold the hook and so itself
    return lambda gradient: laid_out(gradient, shape)


def release(group: ProcessGroup | None) -> None:
    """Release the group, which a reference cycle in DistributedDataParallel holds.

    A group that outlives `destroy_process_group` keeps threads, and gloo's abort the process if it ends before they do.
    """
    if group is not None:
        gc.collect()


def all_sum(values: Tensor, group: ProcessGroup | None) -> Tensor:
    """Return the sum over ranks."""
    if group is not None:
        dist.all_reduce(values, dist.ReduceOp.SUM, group)
    return values


def all_to_all(sent: Tensor, received: Sequence[int], group: ProcessGroup) -> Tensor:
    """Give each rank its part of `sent` [ranks, M, N], and return what they gave to this one, in order of rank.

    `received` are their numbers M; [sum of them, N].
    """
    world, own, width = sent.shape
    out = sent.new_empty(sum(received), width)
    sizes = [number * width for number in received]
    dist.all_to_all_single(out.view(-1), sent.view(-1), sizes, [own * width] * world, group)
    return out


def all_gather(values: Tensor, group: ProcessGroup) -> Tensor:
    """Return the values [N] of all ranks in order of rank, [ranks * N]."""
    out = values.new_empty(len(values) * dist.get_world_size(group))
    dist.all_gather_single(out, values, group)
    return out


def all_max(values: Tensor, group: ProcessGroup | None) -> Tensor:
    """Return the element-wise maximum over ranks."""
    if group is not None:
        dist.all_reduce(values, dist.ReduceOp.MAX, group)
    return values


def gather(values: Tensor, group: ProcessGroup | None) -> list[Tensor]:
    """Return the values [N] of all ranks, in order of rank, on every rank; N may differ from rank to rank.

    Tensors only, never objects: torch unpickles those, and so runs code of whoever has got into the group.
    """
    if group is None:
        return [values]
    world = dist.get_world_size(group)
    lengths = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(world)]
    dist.all_gather(lengths, torch.tensor([len(values)], device=values.device), group)
    counts = [int(length) for length in lengths]
    padded = values.new_zeros(max(counts))
    padded[: len(values)] = values
    parts = [torch.zeros_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded, group)
    return [part[:count] for part, count in zip(parts, counts, strict=True)]


def gather_json(value: Any, device: torch.device, group: ProcessGroup | None) -> list[Any]:
    """Return what all ranks give, in order of rank, on every rank: values of JSON."""
    if group is None:
        return [value]
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    return [json.loads(bytes(one.cpu().numpy())) for one in gather(text.to(device), group)]
