"""Whether all workers have the same weights, which they compute each for themselves."""

from __future__ import annotations

import hashlib

import torch
from torch import nn
from torch.distributed import ProcessGroup

from tasks.errors import UserError
from tasks.learn import parallel
from tasks.learn.average import WeightAverage


def weights_sha256(network: nn.Module, average: WeightAverage | None = None) -> str:
    """Return the sha256 of all parameters and buffers, and of their averages, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, value in [*network.state_dict().items(), *(average.values.items() if average else ())]:
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def refuse_different_weights(
    network: nn.Module, average: WeightAverage | None, step: int, device: torch.device, group: ProcessGroup | None
) -> None:
    """Raise UserError on every worker unless all have the same weights, to the last bit."""
    if group is None:
        return
    digests = parallel.gather_json(weights_sha256(network, average), device, group)
    odd = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if odd:
        raise UserError(
            f"the weights of worker {odd[0]} differ from those of worker 0 after step {step}: their machines compute "
            "differently (other processors, other package versions, or faulty memory); train on machines of one kind, "
            "and the same command goes on from the last checkpoint"
        )
