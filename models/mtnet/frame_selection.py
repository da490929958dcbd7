"""Temporal triplet cosine frame selection: the half of the frames that resemble their two neighbours least.

A. Stergiou, R. Poppe, "Multi-Temporal Convolutions for Human Action Recognition in Videos", IJCNN 2021
(docs/papers/mtnet.md, section 2, equation (3)).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def frame_selection(x: Tensor, compared: Tensor | None = None, *, lowest: bool = True, edges: bool = True) -> Tensor:
    """Keep half of the frames, in order: those that resemble their two neighbours least.

    Args:
        x: [B, C, T, h, w]; frames are compared by their channel sums over the plane.
        compared: [B, C', T, h', w'], compared in place of x.
        lowest: keep the frames with the lowest similarity, else those with the highest.
        edges: allow the first and the last frame, whose only neighbour counts twice.

    Returns:
        [B, C, T // 2, h, w]; x itself where T is 1 or 2.
    """
    frames = x.shape[2]
    if frames <= 2:
        return x
    kept = _kept(x if compared is None else compared, lowest, edges)
    # Frames are gathered as rows of a matrix, which are copied whole; an index per position takes ten times as long.
    first = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(*x.shape[:2], 1) * frames
    rows = x.flatten(0, 2).index_select(0, (first + kept[:, None]).flatten())
    return rows.view(*x.shape[:2], frames // 2, *x.shape[3:])


def _kept(x: Tensor, lowest: bool, edges: bool) -> Tensor:
    """[B, C, T, h, w] -> the numbers of the kept frames, in order, int64 [B, T // 2]."""
    directions = F.normalize(x.detach().sum((3, 4), dtype=torch.promote_types(x.dtype, torch.float32)), dim=1, eps=1e-8)
    next_to = (directions[:, :, :-1] * directions[:, :, 1:]).sum(1)
    next_to = torch.cat([next_to[:, :1], next_to, next_to[:, -1:]], 1)  # the only neighbour counts twice
    similarity = next_to[:, :-1] + next_to[:, 1:]
    if not edges:
        similarity[:, [0, -1]] = torch.inf if lowest else -torch.inf
    # A stable sort: which of two equal frames is kept must not depend on the machine.
    order = similarity.argsort(dim=1, stable=True, descending=not lowest)
    return order[:, : x.shape[2] // 2].sort(1).values
