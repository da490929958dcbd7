"""Several workers: DistributedDataParallel and the collectives of the loop.

Everywhere a `group` of None means one worker without torch.distributed.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parallel import DistributedDataParallel


class Losses(nn.Module):
    """A module whose forward is the network's `losses`.

    DistributedDataParallel synchronises gradients only in its own forward: `ddp.module.losses(...)` would silently skip
    it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, clip: Tensor, labels: Tensor, sample_weights: Tensor, flow: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the network's training losses; only networks that predict flow get it."""
        more = {} if flow is None else {"flow": flow}
        return self.network.losses(clip, labels, sample_weights, **more)  # type: ignore[operator]


def rank_and_world(group: ProcessGroup | None) -> tuple[int, int]:
    """Return this worker's rank and the number of workers."""
    return (0, 1) if group is None else (dist.get_rank(group), dist.get_world_size(group))


def wrap(network: nn.Module, device: torch.device, group: ProcessGroup | None) -> nn.Module:
    """Return the module to call for losses; its gradients are averaged over the group."""
    losses = Losses(network)
    if group is None:
        return losses
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(losses, device_ids=device_ids, process_group=group, gradient_as_bucket_view=True)


def without_sync(model: nn.Module, skip: bool) -> AbstractContextManager[None]:
    """Return the context of a forward and backward pass; with `skip`, its gradients are averaged later."""
    if skip and isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def release(group: ProcessGroup | None) -> None:
    """Release the group, which a reference cycle in DistributedDataParallel holds.

    A group that outlives `destroy_process_group` keeps threads, and gloo's abort the process if it ends before they do.
    """
    if group is not None:
        gc.collect()


def global_mean_scale(sample_weights: Tensor, count: int, world: int) -> Tensor:
    """Return the factor that turns a rank's weighted mean into its part of the mean over all ranks.

    DistributedDataParallel averages gradients over `world` ranks regardless of their numbers of samples; with this
    factor the average is the mean over the step's `count` samples.
    """
    return sample_weights.sum() * world / count


def sync_buffers(network: nn.Module, group: ProcessGroup | None) -> None:
    """Copy the buffers of rank 0 (batch norm statistics), which are those in the checkpoint, to every rank."""
    if group is not None:
        for buffer in network.buffers():
            dist.broadcast(buffer, group=group, group_src=0)


def all_sum(values: Tensor, group: ProcessGroup | None) -> Tensor:
    """Return the sum over ranks."""
    if group is not None:
        dist.all_reduce(values, dist.ReduceOp.SUM, group)
    return values


def sum_each(tensors: Sequence[Tensor], group: ProcessGroup | None) -> list[Tensor]:
    """Return the sum of each tensor over ranks, by one collective; all have the same dtype."""
    flat = all_sum(torch.cat([tensor.flatten() for tensor in tensors]), group)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


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
