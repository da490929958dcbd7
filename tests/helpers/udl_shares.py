"""Shares of a step as DSTS's upstream-downstream learning takes them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Part:
    """Half of a share."""

    clip: Tensor
    labels: Tensor
    fraction: float = 1.0


@dataclass
class Share:
    """Both halves, and what noise was drawn for."""

    train: Part
    held_out: Part
    drawn: list[str] = field(default_factory=list)

    def draw(self, name: str) -> None:
        """Seed the noise by its name."""
        self.drawn.append(name)
        torch.manual_seed(len(name))
