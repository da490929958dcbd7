"""What a clip of each class counts in the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

Weights = Literal["off", "balanced"] | Mapping[str, float]


def class_weights(setting: Weights, classes: Sequence[str], counts: Tensor) -> Tensor | None:
    """Return the weights of the classes, float32 [K], whose mean over all samples of the train part is 1.

    Args:
        setting: "balanced" counts all classes alike, whatever their number of samples; or weights by class, 1 for those
            that are not named.
        classes: names in order.
        counts: samples of each class, int64 [K].
    """
    if setting == "off":
        return None
    present = counts.double().clamp_min(1)
    if isinstance(setting, Mapping):
        given = torch.tensor([setting.get(name, 1.0) for name in classes], dtype=torch.float64)
    else:
        given = 1 / present
    return (given * counts.sum() / (given * counts).sum()).float()
