"""What is said where a training diverges: after which step, with which learning rate, and on which videos."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from tasks.errors import UserError
from tasks.learn import parallel
from tasks.learn.batch import Batch, Portion

SHOWN = 5
"""Videos that a message names."""


class DivergedError(UserError):
    """The loss, its gradient or a weight is no longer finite; raised on every worker after the same step."""


class Watch:
    """Keeps the losses of a step with the videos that they are of, until it is known whether they are finite."""

    def __init__(self, device: torch.device, group: ProcessGroup | None, amp: str) -> None:
        self._device, self._group, self._amp = device, group, amp
        self._videos: list[str] = []
        self._losses: list[tuple[Tensor, list[str]]] = []

    def start(self, portion: Portion) -> None:
        """Begin a step, of which this worker has a portion."""
        self._videos = [name for share in portion.shares for name in share.video_ids]
        self._losses = []

    def add(self, share: Batch, loss: Tensor) -> None:
        """Keep the loss of one of this worker's shares."""
        self._losses.append((loss.detach(), share.video_ids))

    def diverged(self, step: int, lr: float, what: str = "the loss or its gradient") -> DivergedError:
        """Return the error, which names the videos of the shares without a finite loss, else all of the step.

        Called on every worker.
        """
        bad = [name for loss, names in self._losses if not loss.isfinite() for name in names]
        found = parallel.gather_json([bad, self._videos], self._device, self._group)
        names = sorted({name for one in found for name in one[0]} or {name for one in found for name in one[1]})
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        videos = f", videos {', '.join(names[:SHOWN])}{more}" if names else ""
        bf16 = ", or use train.amp=bf16" if self._amp == "fp16" else ""
        return DivergedError(
            f"{what} is no longer finite at step {step} (learning rate {lr:.4g}{videos}): lower train.lr, lengthen "
            f"train.warmup_epochs or set train.clip_norm{bf16}"
        )


def are_finite(network: nn.Module) -> bool:
    """Return whether all parameters and buffers are finite."""
    values = [value for value in network.state_dict().values() if value.is_floating_point()]
    return bool(torch.stack([value.isfinite().all() for value in values]).all())
