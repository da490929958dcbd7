"""Mixed precision in training and scoring."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

from tasks.errors import UserError

Amp = Literal["off", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, amp: Amp) -> AbstractContextManager[None]:
    """Return the context in which the network runs."""
    if amp != "off" and device.type != "cuda":
        raise UserError(
            f"train.amp={amp} needs a GPU and this worker runs on the {device.type.upper()}: set train.amp=off, or "
            "give each worker a GPU (compute.gpus_per_worker=1)"
        )
    return torch.autocast(device.type, dtype=_DTYPES.get(amp, torch.bfloat16), enabled=amp != "off")


def grad_scaler(device: torch.device, amp: Amp) -> torch.amp.GradScaler:
    """Return the loss scaler, which changes nothing unless `amp` is fp16."""
    return torch.amp.GradScaler(device.type, enabled=amp == "fp16")
