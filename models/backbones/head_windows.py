"""Windows of the last map whose scores PyTorchVideo's heads average (docs/papers/backbones.md, sections 2 and 4).

A network is trained on clips whose last map is one window, and tested on larger ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.common.errors import ModelError


def check(window: tuple[int, ...]) -> None:
    """Raise `ModelError` unless an option `head_window` is empty or three sizes of at least 1."""
    if window and (len(window) != 3 or min(window) < 1):
        raise ModelError(
            f"head_window must be three sizes of at least 1, along time, height and width, or empty, not {window}"
        )


def means(features: Tensor, window: tuple[int, ...]) -> Tensor:
    """Average every window of a map, at a stride of 1: [B, C, T, h, w] -> [B, C, T - t + 1, ...].

    Along an axis that is no longer than the window, and where the window is empty, there is one, the axis.
    """
    if not window:
        return features.mean((2, 3, 4), keepdim=True)
    spans = [min(span, size) for span, size in zip(window, features.shape[2:], strict=True)]
    return F.avg_pool3d(features, spans, stride=1)


def mean_of_means(features: Tensor, window: tuple[int, ...]) -> Tensor:
    """Average the means of all windows: [B, C, T, h, w] -> [B, C]. Exportable for any number of frames."""
    if not window:
        return features.mean((2, 3, 4))
    time, height, width = (_shares(size, span, features) for size, span in zip(features.shape[2:], window, strict=True))
    return (features * (time[:, None, None] * height[:, None] * width)).sum((2, 3, 4))


def _shares(size: int, span: int, like: Tensor) -> Tensor:
    """Return what each position of an axis counts in the mean of its windows' means, [size]."""
    length: int = torch.sym_min(span, size)  # type: ignore[no-untyped-call]
    windows = size - length + 1
    most: int = torch.sym_min(length, windows)  # type: ignore[no-untyped-call]
    position = torch.arange(size, device=like.device)
    holding = torch.minimum(position + 1, size - position).clamp(max=most)
    return holding.to(like.dtype) / (length * windows)
