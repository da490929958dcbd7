"""Which frames MTNet keeps behind its stem: docs/papers/mtnet.md, section 4, through the whole network."""

import pytest
import torch
from stem_frames import FRAMES, kept, moving, noise
from torch import nn

import models

every_size = pytest.mark.parametrize("options", [{"tiny": True}, {}], ids=["tiny", "full"])
every_mode = pytest.mark.parametrize("mode", ["train", "eval"])


def fresh(seed: int, mode: str, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return models.build("mtnet_m", 4, **options).train(mode == "train")


@every_size
@every_mode
def test_of_white_noise_every_frame_is_kept_about_equally_often(options: dict, mode: str) -> None:
    for seed in range(3):
        found = kept(fresh(seed, mode, **options), noise(96))
        assert (found.sum(1) == FRAMES // 2).all()
        share = found.float().mean(0)
        assert share.min() > 0.3
        assert share.max() < 0.7


@every_size
@every_mode
@pytest.mark.parametrize("first", [1, 3, 5, 9])
def test_of_a_clip_that_moves_in_a_few_frames_only_these_are_kept(options: dict, mode: str, first: int) -> None:
    """Six frames that differ from one another, and the two beside them, each of which has one such neighbour."""
    expected = torch.zeros(FRAMES, dtype=torch.bool)
    expected[first - 1 : first + 7] = True
    for seed in range(3):
        found = kept(fresh(seed, mode, **options), moving(4, first))
        assert (found == expected).all()


@every_size
@pytest.mark.parametrize("ends", ["zeros", "repeat"])
def test_behind_the_temporal_convolution_the_ends_are_found_whatever_the_padding(options: dict, ends: str) -> None:
    """Repeated ends differ from other frames in their variance, as zeros do."""
    share = kept(fresh(0, "eval", ends=ends, compare="after", **options), noise(32)).float().mean(0)
    assert share[[0, 1, -2, -1]].min() > 0.95
