"""The nine behaviours of docs/papers/stm.md, section 7, its counts, and its options."""

import pytest
import torch
from network_helpers import logits, ready
from torch import Tensor, nn

import models
from models.common.cost import cost, parameters
from models.stm import CMM, CSTM, STMBlock

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def stm() -> nn.Module:
    return ready("stm")


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.randn(2, 3, 4, 48, 48, generator=torch.Generator().manual_seed(1))


# Counts.


@pytest.mark.parametrize(
    ("classes", "plain", "with_stm"),
    [
        (1000, 25_557_032, 25_728_140),
        (400, 24_327_632, 24_498_740),
        (174, 23_864_558, 24_035_666),
        (101, 23_714_981, 23_886_089),
        (51, 23_612_531, 23_783_639),
    ],
)
def test_parameters_are_those_of_the_page(classes: int, plain: int, with_stm: int) -> None:
    with torch.device("meta"):
        assert parameters(models.build("tsn", classes)) == plain
        assert parameters(models.build("stm", classes)) == with_stm


@pytest.mark.parametrize(("stage", "overhead"), [(1, 748), (2, 2_520), (3, 9_136), (4, 34_656)])
def test_overhead_of_one_block(stage: int, overhead: int) -> None:
    with torch.device("meta"):
        blocks = getattr(models.build("stm", 2), f"layer{stage}")
        plain = getattr(models.build("tsn", 2), f"layer{stage}")
    assert [parameters(a) - parameters(b) for a, b in zip(blocks, plain, strict=True)] == [overhead] * len(blocks)


@pytest.mark.parametrize(
    ("options", "count", "first_rule", "second_rule"),
    [
        ({}, 24_035_666, 33.075, 33.255),
        ({"branches": "cstm"}, 23_875_886, 32.746, 32.924),
        ({"branches": "cstm", "temporal_conv": "dense"}, 27_636_974, 40.407, 40.585),
        ({"branches": "cmm"}, 12_699_538, 18.232, 18.390),
        ({"branches": "cmm_static"}, 24_024_338, 33.030, 33.209),
    ],
)
def test_size_and_cost_of_each_ablation(options: dict, count: int, first_rule: float, second_rule: float) -> None:
    with torch.device("meta"):
        network = models.build("stm", 174, **options)
        macs, batch_norm = cost(network, torch.empty(1, 3, 8, 224, 224))
    assert parameters(network) == count
    assert macs / 1e9 == pytest.approx(first_rule, rel=1e-3)
    assert (macs + batch_norm) / 1e9 == pytest.approx(second_rule, rel=1e-3)


def test_cost_of_16_frames() -> None:
    with torch.device("meta"):
        macs, batch_norm = cost(models.build("stm", 174), torch.empty(1, 3, 16, 224, 224))
    assert macs / 1e9 == pytest.approx(66.151, rel=1e-3)
    assert (macs + batch_norm) / 1e9 == pytest.approx(66.510, rel=1e-3)


# Behaviour, numbered as on the page.


@pytest.mark.parametrize("tiny", [True, False])
def test_1_identity_filters_and_no_motion_make_it_plain_tsn(tiny: bool, clip: Tensor) -> None:
    stm = ready("stm", tiny=tiny, cstm_init="identity")
    tsn = ready("tsn", tiny=tiny)
    for module in stm.modules():
        if isinstance(module, CMM):
            nn.init.zeros_(module.expand.weight)
    missing = tsn.load_state_dict(stm.state_dict(), strict=False)
    assert not missing.missing_keys
    torch.testing.assert_close(logits(stm, clip), logits(tsn, clip), rtol=0, atol=1e-5)


def test_2_equal_frames_have_no_motion() -> None:
    cmm = CMM(32, 16, stride=1).eval()
    nn.init.dirac_(cmm.dw.weight, groups=2)
    frame = torch.randn(1, 32, 6, 6)
    assert cmm(frame.repeat(8, 1, 1, 1), 4).abs().max() == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_3_the_last_frame_of_every_clip_has_no_motion(stride: int) -> None:
    cmm = CMM(32, 16, stride)
    motion = cmm(torch.randn(3 * 4, 32, 7, 6), 4).unflatten(0, (3, 4))
    assert motion.shape == (3, 4, 32, *((7, 6) if stride == 1 else (4, 3)))
    assert motion[:, -1].abs().max() == 0
    assert (motion[:, :-1].abs().amax((2, 3, 4)) > 0).all()
    assert cmm(torch.randn(3, 32, 6, 6), 1).abs().max() == 0


@pytest.mark.parametrize("dense", [False, True])
def test_4_the_filters_start_as_a_shift_of_two_quarters(dense: bool) -> None:
    cstm = CSTM(8, dense=dense, init="shift")
    x = torch.arange(1.0, 6).view(5, 1, 1, 1).expand(5, 8, 2, 3).contiguous()
    y = cstm(x, 5)
    past, present, future = [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 0]
    for channel, expected in enumerate([past] * 2 + [present] * 4 + [future] * 2):
        assert (y[:, channel] == torch.tensor(expected).view(5, 1, 1)).all()


def test_5_clips_of_a_batch_do_not_mix(stm: nn.Module, clip: Tensor) -> None:
    both = logits(stm, clip)
    each = torch.cat([logits(stm, clip[:1]), logits(stm, clip[1:])])
    torch.testing.assert_close(both, each, rtol=1e-5, atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_6_the_order_of_frames_matters_and_to_tsn_it_does_not(stm: nn.Module, clip: Tensor) -> None:
    tsn = ready("tsn")
    assert (logits(stm, clip) - logits(stm, clip.flip(2))).abs().max() > 1e-3
    torch.testing.assert_close(logits(tsn, clip), logits(tsn, clip.flip(2)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 3, 8, 16])
def test_7_any_number_of_frames(stm: nn.Module, frames: int) -> None:
    out = logits(stm, torch.randn(1, 3, frames, 32, 32))
    assert out.shape == (1, 6)
    assert out.isfinite().all()


def test_8_an_image_network_of_torchvision_loads() -> None:
    with torch.device("meta"):
        image = models.build("tsn", 1000).state_dict()
        same, other = models.build("stm", 1000), models.build("stm", 6)
    added = {key for key in same.state_dict() if ".cstm." in key or ".cmm." in key}
    # torch takes files without this counter for older than it, and does not miss it.
    added = {key for key in added if not key.endswith("num_batches_tracked")}
    result = same.load_state_dict(image, strict=False, assign=True)
    assert set(result.missing_keys) == added
    assert not result.unexpected_keys
    del image["fc.weight"], image["fc.bias"]
    result = other.load_state_dict(image, strict=False, assign=True)
    assert set(result.missing_keys) == added | {"fc.weight", "fc.bias"}
    assert not result.unexpected_keys


@pytest.mark.parametrize("options", [{}, {"fusion": "concat"}, {"temporal_conv": "dense"}, {"branches": "cmm"}])
def test_9_every_parameter_receives_a_gradient(options: dict) -> None:
    network = models.build("stm", 4, tiny=True, **options)
    network.losses(torch.randn(2, 3, 2, 48, 48), torch.tensor([1, 2]))["total"].backward()
    assert all(p.grad is not None for p in network.parameters())


# Options and forms.


def test_the_temporal_filter_equals_a_conv1d_along_time() -> None:
    for dense in (False, True):
        cstm = CSTM(12, dense=dense, init="random")
        for memory in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(2 * 5, 12, 4, 3).contiguous(memory_format=memory).requires_grad_()
            y = cstm(x, 5)
            along_time = x.view(2, 5, 12, 4, 3).permute(0, 3, 4, 2, 1).reshape(-1, 12, 5)
            expected = cstm.conv(along_time).view(2, 4, 3, 12, 5).permute(0, 4, 3, 1, 2).flatten(0, 1)
            torch.testing.assert_close(y, expected)
            parts = (x, cstm.conv.weight)
            pull = torch.randn_like(y)
            for ours, theirs in zip(
                torch.autograd.grad(y, parts, pull), torch.autograd.grad(expected, parts, pull), strict=True
            ):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert CSTM(12, dense=False, init="random").conv.weight.shape == (12, 1, 3)


def test_stages_choose_which_blocks_are_stm_blocks() -> None:
    with torch.device("meta"):
        network = models.build("stm", 4, stages=(2, 4))
    counts = [sum(isinstance(block, STMBlock) for block in getattr(network, f"layer{n}")) for n in range(1, 5)]
    assert counts == [0, 4, 0, 3]


def test_start_values_of_the_page() -> None:
    network = models.build("stm", 50, tiny=True)
    assert network.fc.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert network.fc.bias.abs().max() == 0
    assert all(block.bn3.weight.min() == 1 for block in network.layer2)
    identity = models.build("stm", 4, tiny=True, cstm_init="identity").layer3[0].cstm.conv.weight
    assert (identity == torch.tensor([0.0, 1.0, 0.0])).all()
    random = models.build("stm", 4, tiny=True, cstm_init="random").layer3[0].cstm.conv.weight
    assert random.unique().numel() == random.numel()


@pytest.mark.parametrize(("depth", "blocks"), [(101, [3, 4, 23, 3]), (152, [3, 8, 36, 3])])
def test_deeper_networks_exist(depth: int, blocks: list[int]) -> None:
    with torch.device("meta"):
        network = models.build("stm", 4, depth=depth)
    assert [len(getattr(network, f"layer{stage}")) for stage in range(1, 5)] == blocks
