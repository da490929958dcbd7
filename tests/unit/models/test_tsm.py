"""Temporal shift: docs/papers/tsm.md."""

import pytest
import torch
from network_helpers import logits, ready

import models
from models.backbones.shift import shift
from models.common.cost import cost, parameters

pytestmark = pytest.mark.quick


def numbered(frames: int = 5, channels: int = 8) -> torch.Tensor:
    x = torch.arange(1.0, frames + 1).view(frames, 1, 1, 1).expand(frames, channels, 2, 3)
    return x.contiguous(memory_format=torch.channels_last)


def test_shift_rule() -> None:
    y = shift(numbered(), 5, fold=1)
    future, past, present = [2, 3, 4, 5, 0], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]
    for channel, expected in enumerate([future, past, *[present] * 6]):
        assert (y[:, channel] == torch.tensor(expected).view(5, 1, 1)).all()
    twice = shift(y, 5, fold=1)
    assert twice[:, 0, 0, 0].tolist() == [3, 4, 5, 0, 0]
    assert twice[:, 1, 0, 0].tolist() == [0, 0, 1, 2, 3]


def test_one_frame_has_no_neighbours() -> None:
    y = shift(numbered(3), 1, fold=2)
    assert y[:, :4].abs().max() == 0
    assert torch.equal(y[:, 4:], numbered(3)[:, 4:])


def test_sizes_are_those_of_the_resnet() -> None:
    with torch.device("meta"):
        tsm, tsn, clip = models.build("tsm", 174), models.build("tsn", 174), torch.empty(1, 3, 8, 224, 224)
        assert parameters(tsm) == parameters(tsn) == 23_864_558
        assert cost(tsm, clip) == cost(tsn, clip)
        assert list(tsm.state_dict()) == list(tsn.state_dict())


def test_without_a_shift_it_is_tsn() -> None:
    clip = torch.randn(2, 3, 4, 48, 48)
    tsn = ready("tsn", tiny=True)
    still, shifted = ready("tsm", tiny=True, fold_div=0), ready("tsm", tiny=True)
    assert torch.equal(logits(still, clip), logits(tsn, clip))
    assert (logits(shifted, clip) - logits(tsn, clip)).abs().max() > 1e-3
    assert (logits(shifted, clip) - logits(shifted, clip.flip(2))).abs().max() > 1e-3
    torch.testing.assert_close(logits(shifted, clip[:1]), logits(shifted, clip)[:1])


def test_inplace_shifts_what_the_downsampling_path_reads() -> None:
    residual, inplace = (ready("tsm", tiny=True, placement=placement) for placement in ("residual", "inplace"))
    plain, down = residual.layer2[1], residual.layer2[0]
    x = torch.randn(4, down.conv1.in_channels, 8, 8).contiguous(memory_format=torch.channels_last)
    y = down(x, 4)
    shifted = inplace.layer2[0](x, 4)
    expected = torch.relu(down.branch(shift(x, 4, down.fold), 4) + down.downsample(shift(x, 4, down.fold)))
    torch.testing.assert_close(shifted, expected)
    assert not torch.allclose(y, shifted)
    torch.testing.assert_close(plain(y, 4), inplace.layer2[1](y, 4))  # an identity shortcut reads the input as it is
