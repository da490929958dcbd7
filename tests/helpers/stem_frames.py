"""Which frames MTNet keeps behind its stem, as a pass through the network shows, and clips whose answer is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FRAMES = 16


class _StagesReached(Exception):
    """The rest of a pass is not needed."""


@torch.no_grad()
def kept(network: nn.Module, clips: Tensor) -> Tensor:
    """Tell which frames of clips [B, C, T, H, W], no two of which are the same, reach the first stage: bool [B, T]."""
    seen: dict[str, Tensor] = {}

    def take(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["stages"] = inputs[0]
        raise _StagesReached

    hooks = [
        network.maxpool.register_forward_hook(lambda _module, _inputs, y: seen.update(stem=y)),
        network.stages.register_forward_pre_hook(take),
    ]
    try:
        network(clips)
    except _StagesReached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    stem, stages = (seen[name].transpose(1, 2).flatten(2) for name in ("stem", "stages"))
    return torch.stack([(stem == frame[:, None]).all(2) for frame in stages.unbind(1)]).any(0)


def noise(clips: int) -> Tensor:
    """White noise, [clips, 3, 16, 48, 48]."""
    return torch.randn(clips, 3, FRAMES, 48, 48, generator=torch.Generator().manual_seed(9))


def moving(clips: int, first: int) -> Tensor:
    """Still clips, but for a camera's faint noise, in which a bright square grows in six frames from `first` on.

    [clips, 3, 16, 48, 48]; no two frames are the same.
    """
    generator = torch.Generator().manual_seed(first)
    still = torch.randn(clips, 3, 1, 48, 48, generator=generator)
    made = still + 0.01 * torch.randn(clips, 3, FRAMES, 48, 48, generator=generator)
    for number in range(6):
        side = 4 * (number + 1)
        made[:, :, first + number, 4 : 4 + side, 6 : 6 + side] = 2.0
    return made
