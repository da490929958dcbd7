"""`ad_target=flow` of STIN's spatial stream (docs/papers/stin.md, section 3): differences predict the optical flow."""

import pytest
import torch
from network_helpers import ready
from torch import Tensor, nn

import models
from models.common.cost import parameters
from models.common.errors import ModelError
from models.stin.heads import flow_error

pytestmark = pytest.mark.quick
LABELS = torch.tensor([1, 4])


@pytest.fixture(scope="module")
def motion() -> Tensor:
    """The flow between the frames of each pair of `rgb`, in pixels per frame."""
    return 20 * torch.randn(2, 2, 3, 48, 48, generator=torch.Generator().manual_seed(3))


def test_parameters_of_the_head_that_tells_flow() -> None:
    """The convolutions of the other head, and 256 -> 2 with a bias."""
    with torch.device("meta"):
        network = models.build("stin_spatial", 101, ad_target="flow")
        assert parameters(network.auxiliary) == 524_800 + 590_336 + 2 * 256 + 2
        assert parameters(network.deploy()) == 23_714_981


def test_equal_frames_have_no_flow_but_the_bias(rgb: Tensor) -> None:
    network = models.build("stin_spatial", 6, tiny=True, ad_target="flow")
    _, told = network.scores(rgb[:, :, ::2].repeat_interleave(2, dim=2))
    torch.testing.assert_close(told, network.auxiliary.flow.bias.view(1, 2, 1, 1, 1).expand(2, 2, 3, 2, 2))


def test_the_error_alone_reaches_the_first_convolution(rgb: Tensor, motion: Tensor) -> None:
    network = models.build("stin_spatial", 6, tiny=True, ad_target="flow")
    _, told = network.scores(rgb)
    flow_error(told, motion, None).backward()
    assert network.conv1.weight.grad.abs().max() > 0
    assert network.fc.weight.grad is None


def test_the_error_of_the_flow_is_that_of_its_mean_in_units_of_20_pixels(rgb: Tensor, motion: Tensor) -> None:
    """A head that predicts the same flow everywhere, with a known error. The map is 2x2, so a position covers 24x24."""
    network = models.build("stin_spatial", 6, tiny=True, ad_target="flow", lambda_s=0.25)
    nn.init.zeros_(network.auxiliary.flow.weight)
    with torch.no_grad():
        network.auxiliary.flow.bias.copy_(torch.tensor([0.5, -0.1]))
    means = motion.view(2, 2, 3, 2, 24, 2, 24).mean((4, 6))
    each = (torch.tensor([10.0, -2.0]).view(1, 2, 1, 1, 1) - means).square().mean((1, 2, 3, 4)) / 400
    losses = network.losses(rgb, LABELS, flow=motion)
    assert set(losses) == {"total", "logits", "loss_main", "loss_difference"}
    torch.testing.assert_close(losses["loss_difference"], each.mean())
    torch.testing.assert_close(losses["total"], losses["loss_main"] + 0.25 * losses["loss_difference"])
    for weights, expected in (([1.0, 0.0], each[0]), ([1.0, 3.0], (each[0] + 3 * each[1]) / 4)):
        found = network.losses(rgb, LABELS, torch.tensor(weights), flow=motion)["loss_difference"]
        torch.testing.assert_close(found, expected)


def test_a_pair_tells_its_own_flow_at_its_own_place(rgb: Tensor, motion: Tensor) -> None:
    network = ready("stin_spatial", tiny=True, ad_target="flow")
    changed = rgb.clone()
    changed[0, :, 3] += 1
    with torch.no_grad():
        told, after = network.scores(rgb)[1], network.scores(changed)[1]
    assert told.shape == (2, 2, 3, 2, 2)
    moved = (told - after).abs() > 1e-6
    assert moved.any((1, 3, 4)).tolist() == [[False, True, False], [False, False, False]]
    means = motion.view(2, 2, 3, 2, 24, 2, 24).mean((4, 6)) / 20
    torch.testing.assert_close(flow_error(told, motion, None), (told - means).square().mean())


def test_clips_of_weight_0_do_not_teach_flow(rgb: Tensor, motion: Tensor) -> None:
    network = models.build("stin_spatial", 6, tiny=True, ad_target="flow").eval()
    network.losses(rgb[:1], LABELS[:1], flow=motion[:1])["total"].backward()
    expected = {name: p.grad for name, p in network.named_parameters()}
    network.zero_grad()
    network.losses(rgb, LABELS, torch.tensor([1.0, 0.0]), flow=motion)["total"].backward()
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-4, atol=1e-6)
    network.zero_grad()
    total = network.losses(rgb, LABELS, torch.zeros(2), flow=motion)["total"]
    total.backward()
    assert total == 0
    assert all((p.grad == 0).all() for p in network.parameters())


@pytest.mark.parametrize("shape", [None, (2, 2, 6, 48, 48), (2, 3, 3, 48, 48)])
def test_flow_that_does_not_come_along_is_one_sentence(shape: tuple[int, ...] | None, rgb: Tensor) -> None:
    network = models.build("stin_spatial", 6, tiny=True, ad_target="flow")
    given = None if shape is None else torch.zeros(shape)
    with pytest.raises(ModelError, match=r"flow between the frames of each pair, \[2, 2, 3, H, W\]; got (None|\[2, )"):
        network.losses(rgb, LABELS, flow=given)


@pytest.mark.parametrize("tap", ["layer4", "layer3"])
def test_every_parameter_is_trained(tap: str, rgb: Tensor, motion: Tensor) -> None:
    network = models.build("stin_spatial", 6, tiny=True, ad_target="flow", ad_tap=tap)
    network.losses(rgb, LABELS, flow=motion)["total"].backward()
    assert all(p.grad is not None for p in network.parameters())
