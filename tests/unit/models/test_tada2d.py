"""TAda2D against what its authors publish and what it is compared with."""

import pytest
import torch
from network_helpers import logits, randomise, ready
from torch import nn

import models
from models.backbones.resnet import Bottleneck, ResNet
from models.common.cost import cost, parameters
from models.common.network import refold, temporal_average, unfold
from models.tsn import TSNOptions

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("classes", "count"), [(174, 27_022_398), (400, 27_485_472)])
def test_parameters(classes: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(models.build("tada2d", classes)) == count


@pytest.mark.parametrize(("size", "gmacs", "with_bn"), [(224, 33.028, 33.238), (256, 43.132, 43.406)])
def test_cost(size: int, gmacs: float, with_bn: float) -> None:
    with torch.device("meta"):
        macs, batch_norm = cost(models.build("tada2d", 400), torch.empty(1, 3, 8, size, size))
    assert macs / 1e9 == pytest.approx(gmacs, rel=1e-3)
    assert (macs + batch_norm) / 1e9 == pytest.approx(with_bn, rel=1e-3)


class WithoutPool(ResNet):
    """A ResNet whose first stage strides instead of the stem's max-pooling, as in the authors' code."""

    stem_pool = False


def test_the_first_stage_strides_and_the_stem_does_not_pool() -> None:
    network, seen = ready("tada2d", tiny=True), {}
    for name in ("layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1"):
        layer = network.get_submodule(name)
        layer.register_forward_hook(lambda _m, _x, y, name=name: seen.update({name: tuple(y.shape[2:])}))
    network(torch.randn(1, 3, 2, 64, 96))
    assert seen == {"layer1.0.conv1": (32, 48), "layer1.0.conv2": (16, 24), "layer2.0.conv1": (16, 24)}


def test_it_starts_as_the_resnet() -> None:
    clip = torch.randn(2, 3, 4, 48, 48)
    options = TSNOptions(tiny=True)
    tsn = WithoutPool(6, stream="rgb", options=options, block=Bottleneck, dropout=0.0)
    randomise(tsn)
    tada = ready("tada2d", tiny=True)
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
