"""What a training is made of, copied between two steps and written while the next ones run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from tasks.errors import UserError
from tasks.files import move_into_place
from tasks.learn.average import WeightAverage
from tasks.learn.checkpoint.document import (
    DOCUMENT_FILE,
    OPTIMIZER_FILE,
    TRAINED_FILE,
    WEIGHTS_FILE,
    Document,
    Identity,
    Position,
    sum_of,
)
from tasks.learn.conditions import conditions
from tasks.remote import reason


@dataclass(frozen=True)
class State:
    """Everything that a training goes on from; the learning rate follows from the position."""

    network: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    position: Position
    average: WeightAverage | None = None

    def snapshot(self, identity: Identity, metrics: Mapping[str, float], *, writes: bool = True) -> Snapshot | None:
        """Return a copy on the CPU, for another thread to write; None on the ranks that do not write.

        Called on every rank at the same step, since a rank may hold only a part of a tensor.
        """
        tensors = self._collect()
        if not writes:
            return None
        copies = {file: {name: _copy(value) for name, value in part.items()} for file, part in tensors.items()}
        device = next(self.network.parameters()).device
        document = Document(
            identity, self.position, self.scaler.state_dict(), dict(metrics), {}, conditions=conditions(device)
        )
        return Snapshot(copies, document)

    def _collect(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors by file and name, not yet copied."""
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict  # takes half a second to import

        state: Any = get_optimizer_state_dict(self.network, self.optimizer)["state"]  # parameter -> its values
        trained = self.network.state_dict()
        weights = {WEIGHTS_FILE: trained}
        if self.average is not None:
            weights = {WEIGHTS_FILE: self.average.values, TRAINED_FILE: trained}
        return {
            **weights,
            OPTIMIZER_FILE: {
                f"{name}.{key}": torch.as_tensor(value)
                for name, values in state.items()
                for key, value in values.items()
                if value is not None
            },
        }


@dataclass(frozen=True)
class Snapshot:
    """A state as it was between two steps."""

    tensors: dict[str, dict[str, Tensor]]
    """By file and name, on the CPU."""
    document: Document
    """Without the sums of the files."""

    def write(self, folder: Path) -> Path:
        """Write a checkpoint to a temporary folder and rename it to `folder`, replacing what was there.

        Nobody but its owner may read it. UserError if the disk is full or refuses; what was there is then still there.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        aside = folder.with_name(f".{folder.name}.partial")
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.mkdir(mode=0o700)
            for name, tensors in self.tensors.items():
                save_file(tensors, aside / name)
            sums = {name: sum_of(aside / name) for name in self.tensors}
            (aside / DOCUMENT_FILE).write_text(replace(self.document, files=sums).text())
            for file in aside.iterdir():
                file.chmod(0o600)
            move_into_place(aside, folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            why = reason(error if isinstance(error, OSError) else _os_error(error))
            raise UserError(
                f"checkpoint {folder} cannot be written ({why}): mend that, and the same command goes on from the "
                "checkpoint before"
            ) from error
        return folder


def _os_error(error: Exception) -> OSError:
    """Return the error of the operating system that safetensors has put into words of its own."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def _copy(value: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU, as safetensors needs, whatever the memory format in training."""
    return torch.empty(value.shape, dtype=value.dtype).copy_(value.detach())
