"""TAda2D against what its authors publish and what it is compared with."""

import pytest
import torch
from network_helpers import logits, ready
from torch import nn

import models
from models.common.cost import parameters
from models.common.network import refold, temporal_average, unfold

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("classes", "count"), [(174, 27_022_398), (400, 27_485_472)])
def test_parameters(classes: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(models.build("tada2d", classes)) == count


def test_it_starts_as_the_resnet() -> None:
    clip = torch.randn(2, 3, 4, 48, 48)
    tsn, tada = ready("tsn", tiny=True, dropout=0.0), ready("tada2d", tiny=True)
    for block in (block for stage in (tada.layer1, tada.layer2, tada.layer3, tada.layer4) for block in stage):
        nn.init.zeros_(block.average_bn.weight)
        nn.init.zeros_(block.average_bn.bias)
    assert not tada.load_state_dict(tsn.state_dict(), strict=False).unexpected_keys
    for mode in (False, True):
        torch.testing.assert_close(logits(tada.train(mode), clip), logits(tsn.train(mode), clip))


def test_scaling_the_input_is_scaling_the_weights_of_each_frame() -> None:
    block = ready("tada2d", tiny=True).layer2[0]
    nn.init.normal_(block.route.b.weight)
    u = torch.randn(6, block.conv2.in_channels, 9, 9).contiguous(memory_format=torch.channels_last)
    factors = block.route(u, 3)
    each = torch.cat(
        [
            nn.functional.conv2d(frame[None], block.conv2.weight * factor[None, :, None, None], stride=2, padding=1)
            for frame, factor in zip(u, factors, strict=True)
        ]
    )
    y = torch.relu(
        block.bn2(each)
        + block.average_bn(refold(temporal_average(unfold(each.contiguous(memory_format=torch.channels_last), 3))))
    )
    torch.testing.assert_close(block.middle(u, 3), y, rtol=1e-4, atol=1e-4)
    assert factors.shape == (6, block.conv2.in_channels)
    assert (factors[0] - factors[1]).abs().max() > 0.01


def test_average_over_three_frames() -> None:
    x = torch.arange(1.0, 9).view(2, 4, 1, 1, 1).expand(-1, -1, 2, 3, 5)
    expected = [[3, 6, 9, 7], [11, 18, 21, 15]]
    assert (3 * temporal_average(x.contiguous())).eq(torch.tensor(expected).view(2, 4, 1, 1, 1)).all()


def test_direction_matters_once_routes_have_learned() -> None:
    clip = torch.randn(1, 3, 4, 48, 48)
    network = ready("tada2d", tiny=True, aggregation=False)
    torch.testing.assert_close(logits(network, clip), logits(network, clip.flip(2)))
    for module in network.modules():
        if hasattr(module, "route"):
            nn.init.normal_(module.route.b.weight)
    assert (logits(network, clip) - logits(network, clip.flip(2))).abs().max() > 1e-3
