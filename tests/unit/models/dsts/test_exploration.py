"""A new module tries all of its neurons, on built-in and on real clips: docs/papers/dsts.md, section 2."""

from pathlib import Path

import numpy as np
import pytest
import torch
from paths import VIDEOS
from torch import Tensor

import models
from tasks.stickfigures import FigureSettings, videos
from tasks.video import decode

pytestmark = pytest.mark.quick
CLIPS, FRAMES, SIDE = 12, 8, 64
ROUNDS = 60


def clip_of(frames: np.ndarray) -> Tensor:
    """uint8 [T, H, W, 3] -> [3, FRAMES, SIDE, SIDE], about standardised."""
    some = torch.from_numpy(frames[np.linspace(0, len(frames) - 1, FRAMES).astype(int)]).permute(3, 0, 1, 2)
    small = torch.nn.functional.interpolate(some.float(), (SIDE, SIDE), mode="area")
    return (small - 114) / 57


def built_in() -> list[Tensor]:
    settings = FigureSettings(train_clips=1)
    drawn = [video for video in videos.list_videos(settings) if video.part == "train"]
    return [clip_of(videos.render(video, settings)) for video in drawn[:CLIPS]]


def real() -> list[Tensor]:
    files: list[Path] = sorted((VIDEOS / "arm_gestures").glob("*/*T[12].avi"))
    if not files:
        pytest.skip(f"no real clips at {VIDEOS} (MAREY_TEST_VIDEOS)")
    return [clip_of(decode(str(file), short_side=SIDE).images) for file in files[:CLIPS]]


@pytest.mark.parametrize("tiny", [True, False])
@pytest.mark.parametrize("clips", [built_in, real])
def test_every_neuron_of_every_layer_is_tried(clips, tiny: bool) -> None:
    torch.manual_seed(0)
    network = models.build("dsts_tpn", 4, tiny=tiny, n_neurons=4).train()
    with torch.no_grad():
        given = torch.stack(clips()).split(6)
        features = torch.cat([network.forward_trunk(part) for part in given])
        choices: list[list[Tensor]] = [[] for _ in network.dsts.layers]
        agreement: list[list[Tensor]] = [[] for _ in network.dsts.layers]
        for _ in range(ROUNDS):
            for part in features[torch.randperm(len(features))].split(6):
                z = network.dsts.reduce(part)
                for number, layer in enumerate(network.dsts.layers):
                    clean = layer.impulses(z).argmax(1)
                    z, chosen = layer.trace(z)
                    choices[number].append(chosen)
                    agreement[number].append((chosen == clean).float())
    for chosen, agreed in zip(choices, agreement, strict=True):
        fractions = torch.bincount(torch.cat(chosen), minlength=4) / len(torch.cat(chosen))
        assert fractions.min() >= 0.15
        assert fractions.max() <= 0.35
        assert torch.cat(agreed).mean() < 0.7
