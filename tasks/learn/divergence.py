"""What is said where a training diverges: after which step, with which learning rate, and on which videos."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    """Keeps the losses of steps with the videos that they are of, until it is known whether all was finite.

    On a CPU that is known at once. A GPU is not waited for: steps after a bad one are taken in vain, and `check` names
    the first, before anything of them is reported or written.
    """

    def __init__(self, device: torch.device, group: ProcessGroup | None, amp: str, *, at_once: bool) -> None:
        self._device, self._group, self._amp, self._at_once = device, group, amp, at_once
        self._steps: list[_Watched] = []

    def start(self, step: int, lr: float, portion: Portion) -> None:
        """Begin a step, counted from 1, of which this worker has a portion."""
        self._steps.append(_Watched(step, lr, [name for share in portion.shares for name in share.video_ids]))

    def add(self, share: Batch, loss: Tensor) -> None:
        """Keep the loss of one of this worker's shares."""
        self._steps[-1].losses.append((loss.detach(), share.video_ids))

    def expect_finite(self, *values: Tensor) -> None:
        """Note numbers of the step that must be finite, the same on every worker.

        Raises:
            DivergedError: they are not, where that is known at once.
        """
        self._steps[-1].finite += [value.isfinite() for value in values]
        if self._at_once:
            self.check()

    def check(self) -> None:
        """Raise DivergedError for the first step since the last call where something was not finite.

        Called on every worker after the same step.
        """
        unknown = [watched for watched in self._steps if watched.finite]
        if unknown:
            finite = torch.stack([torch.stack(watched.finite).all() for watched in unknown]).tolist()
            for watched, is_finite in zip(unknown, finite, strict=True):
                if not is_finite:
                    raise self._error(watched, "the loss or its gradient")
                watched.finite.clear()
        del self._steps[:-1]

    def refuse_infinite_weights(self, network: nn.Module) -> None:
        """Raise DivergedError on every worker where a weight is not finite: no checkpoint may hold it."""
        if not are_finite(network):
            raise self._error(self._steps[-1], "a weight")

    def _error(self, watched: _Watched, what: str) -> DivergedError:
        """Return the error, which names the videos of the shares without a finite loss, else all of the step."""
        bad = [name for loss, names in watched.losses if not loss.isfinite() for name in names]
        found = parallel.gather_json([bad, watched.videos], self._device, self._group)
        names = sorted({name for one in found for name in one[0]} or {name for one in found for name in one[1]})
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        videos = f", videos {', '.join(names[:SHOWN])}{more}" if names else ""
        bf16 = ", or use train.amp=bf16" if self._amp == "fp16" else ""
        return DivergedError(
            f"{what} is no longer finite at step {watched.step} (learning rate {watched.lr:.4g}{videos}): lower "
            f"train.lr, lengthen train.warmup_epochs or set train.clip_norm{bf16}"
        )


@dataclass
class _Watched:
    """A step of which it is not yet known whether all was finite."""

    step: int
    lr: float
    videos: list[str]
    losses: list[tuple[Tensor, list[str]]] = field(default_factory=list)
    finite: list[Tensor] = field(default_factory=list)


def are_finite(network: nn.Module) -> bool:
    """Return whether all parameters and buffers are finite."""
    values = [value for value in network.state_dict().values() if value.is_floating_point() and value.numel()]
    return bool(torch.stack(torch._foreach_norm(values, torch.inf)).isfinite().all())  # the largest of each tensor
