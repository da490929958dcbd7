"""The behaviours of docs/papers/stam.md, section 7, its counts, and its options."""

import pytest
import torch
from network_helpers import logits, ready, sthac, with_random_filters
from torch import Tensor, nn

import models
from models.common.cost import cost, parameters
from models.common.errors import ModelError
from models.common.network import refold, temporal_average, unfold
from models.stam.aggregation import OmniAggregation, normalise
from models.stam.network import STAMBlock

pytestmark = pytest.mark.quick

MIXED = {"mix": "softmax"}
EVERY_OPTION = [
    {},
    MIXED,
    {"mix": "sigmoid"},
    {**MIXED, "n_filters": 2},
    {**MIXED, "filter_size": 1},
    {**MIXED, "temperature": 30.0},
    {**MIXED, "temperature_start": 30.0},
    {**MIXED, "standardise": True},
    {**MIXED, "filter_scale": 10.0},
    {**MIXED, "branches": "temporal"},
    {**MIXED, "branches": "none"},
    {"reduction": 8},
    {"temporal_norm": True},
    {"temporal_pos": "none"},
    {"temporal_pos_scale": 0.1},
    {"branches": "spatial"},
    {"branches": "temporal"},
    {"od": False},
    {"od_gates": False},
    {"stages": (2, 4)},
]


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.randn(2, 3, 4, 48, 48, generator=torch.Generator().manual_seed(1))


# Counts.


@pytest.mark.parametrize(
    ("options", "at_174", "at_400"),
    [
        ({}, 27_308_238, 27_771_312),
        ({"temporal_norm": True}, 27_308_238, 27_771_312),
        ({"od": False}, 26_035_662, 26_498_736),
        ({"branches": "spatial"}, 26_035_646, 26_498_720),
        ({"branches": "temporal"}, 26_409_726, 26_872_800),
        ({"reduction": 8}, 26_023_886, 26_486_960),
        (MIXED, 26_815_534, 27_278_608),
        ({**MIXED, "od": False}, 25_542_958, 26_006_032),
        ({**MIXED, "branches": "spatial"}, 25_857_262, 26_320_336),
        ({**MIXED, "branches": "temporal"}, 26_231_342, 26_694_416),
        ({**MIXED, "branches": "none"}, 25_273_070, 25_736_144),
        ({**MIXED, "filter_size": 1}, 26_694_702, 27_157_776),
        ({**MIXED, "n_filters": 2}, 26_743_726, None),
        ({**MIXED, "n_filters": 8}, 26_959_150, None),
        ({**MIXED, "reduction": 8}, 23_864_558 + 701_760 + 1_272_576, None),
        ({**MIXED, "reduction": 16}, 23_864_558 + 392_256 + 1_272_576, None),
    ],
)
def test_parameters_are_those_of_the_page(options: dict, at_174: int, at_400: int | None) -> None:
    with torch.device("meta"):
        assert parameters(models.build("stam", 174, **options)) == at_174
        if at_400 is not None:
            assert parameters(models.build("stam", 400, **options)) == at_400


@pytest.mark.parametrize(
    ("stage", "by_branch", "mixed", "of_od"),
    [
        (1, 7_746, 8_008, 4_352),
        (2, 29_314, 25_736, 16_896),
        (3, 113_922, 90_376, 66_560),
        (4, 449_026, 336_392, 264_192),
    ],
)
def test_overhead_of_one_block(stage: int, by_branch: int, mixed: int, of_od: int) -> None:
    for options, of_sthac in (({}, by_branch), (MIXED, mixed)):
        with torch.device("meta"):
            blocks = getattr(models.build("stam", 2, **options), f"layer{stage}")
        assert {parameters(block.sthac) for block in blocks} == {of_sthac}
        assert {parameters(block.od) for block in blocks} == {of_od}


@pytest.mark.parametrize(
    ("options", "frames", "first_rule", "second_rule"),
    [
        ({}, 8, 33.274, 33.480),
        ({}, 16, 66.432, 66.845),
        ({"od": False}, 8, 32.848, None),
        ({"branches": "spatial"}, 8, 33.263, None),
        ({"branches": "temporal"}, 8, 33.136, None),
        (MIXED, 8, 33.270, 33.477),
        (MIXED, 16, 66.424, 66.837),
        ({**MIXED, "od": False}, 8, 32.844, None),
        ({**MIXED, "branches": "spatial"}, 8, 33.262, None),
        ({**MIXED, "branches": "temporal"}, 8, 33.135, None),
    ],
)
def test_cost_is_that_of_the_page(options: dict, frames: int, first_rule: float, second_rule: float | None) -> None:
    """The page's second rule also counts a product for each calibrated weight, which torch does not."""
    with torch.device("meta"):
        macs, batch_norm = cost(models.build("stam", 174, **options), torch.empty(1, 3, frames, 224, 224))
    assert macs / 1e9 == pytest.approx(first_rule, rel=1e-3)
    if second_rule is not None:
        assert (macs + batch_norm) / 1e9 == pytest.approx(second_rule, rel=1e-3)


# Behaviour, numbered as on the page.


@pytest.mark.parametrize("options", EVERY_OPTION, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_1_it_starts_as_the_resnet(options: dict, training: bool, clip: Tensor) -> None:
    tsn = ready("tsn", tiny=True)
    torch.manual_seed(11)
    stam = models.build("stam", 6, tiny=True, **options)
    result = stam.load_state_dict(tsn.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(".sthac." in key or ".od." in key for key in result.missing_keys)
    theirs, ours = logits(tsn.train(training), clip), logits(stam.train(training), clip)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def test_1_the_full_network_too(clip: Tensor) -> None:
    tsn = ready("tsn")
    stam = models.build("stam", 6)
    stam.load_state_dict(tsn.state_dict(), strict=False)
    theirs = logits(tsn, clip)
    torch.testing.assert_close(logits(stam.eval(), clip), theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def test_3_shares_of_filters() -> None:
    network = with_random_filters(ready("stam", tiny=True, **MIXED))
    module = network.layer3[0].sthac
    x = torch.randn(6, module.filters.shape[1], 9, 9)
    share = module.mixing(x, 3)
    assert share.shape == (6, 4)
    assert (share >= 0).all()
    torch.testing.assert_close(share.sum(1), torch.ones(6))
    uniform = with_random_filters(ready("stam", tiny=True, **MIXED, branches="none")).layer3[0].sthac
    assert (uniform.mixing(x, 3) == 0.25).all()
    assert (uniform.factors(x, 3)[0] == uniform.factors(x, 3)[5]).all()


@pytest.mark.parametrize("mix", ["branch", "softmax"])
def test_4_filters_learn_first_and_then_the_branches(mix: str, clip: Tensor) -> None:
    network = models.build("stam", 6, tiny=True, mix=mix)

    def gradients() -> tuple[list[float], list[float]]:
        network.zero_grad()
        network.losses(clip, torch.tensor([1, 2]))["total"].backward()
        filters, branches = [], []
        for module in sthac(network):
            heads = [branch.head.weight for branch in (module.spatial, module.temporal)]
            first = heads if mix == "branch" else [module.filters]
            filters += [parameter.grad.abs().max().item() for parameter in first]
            for branch in (module.spatial, module.temporal):
                rest = [p for name, p in branch.named_parameters() if mix != "branch" or not name.startswith("head.")]
                branches.append(max(p.grad.abs().max().item() for p in rest))
        return filters, branches

    nn.init.normal_(network.fc.weight)
    filters, branches = gradients()
    assert min(filters) > 0
    assert max(branches) == 0
    with_random_filters(network)
    filters, branches = gradients()
    assert min(filters) > 0
    assert min(branches) > 0


@pytest.mark.parametrize("options", [{}, MIXED, {"temporal_norm": True}], ids=str)
def test_4_every_parameter_has_a_gradient_within_three_steps(options: dict, clip: Tensor) -> None:
    network = models.build("stam", 6, tiny=True, **options)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    seen = set()
    for _ in range(3):
        optimizer.zero_grad()
        network.losses(clip, torch.tensor([1, 2]))["total"].backward()
        seen |= {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert seen == {name for name, _ in network.named_parameters()}


def test_5_without_gates_the_aggregation_is_tadaconvs() -> None:
    od = OmniAggregation(8, gates=False)
    nn.init.ones_(od.bn.weight)
    y = torch.randn(6, 8, 5, 4).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(od(y, 3), nn.BatchNorm2d(8)(refold(temporal_average(unfold(y, 3)))))


def test_5_gates_look_where_they_say() -> None:
    """A change of one pixel of one frame changes each group's gates just there, or in its row, plane or clip."""
    torch.manual_seed(2)
    gates = OmniAggregation(16, gates=True).gates.eval()
    y = torch.rand(2, 6, 5, 5, 16) + 1
    changed = y.clone()
    changed[0, 3, 2, 2] += 1
    ratio = (gates(changed) / changed - gates(y) / y).abs() > 1e-7
    assert not ratio[1].any()
    local, wide, still, whole = (group.any(3) for group in ratio[0].split(4, dim=3))
    assert local.nonzero().tolist() == [[t, 2, 2] for t in (2, 3, 4)]
    assert [t for t in range(6) if wide[t].all()] == [2, 3, 4]
    assert [t for t in range(6) if wide[t].any()] == [2, 3, 4]
    assert still[:, 1:4, 1:4].all()
    assert still.sum() == 6 * 9
    assert whole.all()


@pytest.mark.parametrize(("position", "blind"), [("none", True), ("sin", False)])
def test_6_a_code_of_time_is_what_tells_the_direction(position: str, blind: bool, clip: Tensor) -> None:
    network = with_random_filters(ready("stam", tiny=True, od=False, temporal_pos=position))
    forwards, backwards = logits(network, clip), logits(network, clip.flip(2))
    difference = (forwards - backwards).abs().max() / forwards.abs().max()
    assert difference < 1e-5 if blind else difference > 1e-4


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_7_clips_do_not_mix_and_any_number_of_frames_will_do(frames: int) -> None:
    network = with_random_filters(ready("stam", tiny=True))
    clips = torch.randn(2, 3, frames, 48, 48)
    both = logits(network, clips)
    torch.testing.assert_close(both[1:], logits(network, clips[1:]), rtol=1e-4, atol=1e-4)
    assert (both[0] - both[1]).abs().max() > 1e-4


@pytest.mark.parametrize("frames", [1, 3])
def test_7_one_clip_can_be_trained_on(frames: int) -> None:
    """Its global gate has one value per channel, which batch norm cannot normalise."""
    network = models.build("stam", 6, tiny=True)
    before = network.layer1[0].od.gates.bn_everything.running_mean.clone()
    network.losses(torch.randn(1, 3, frames, 64, 64), torch.tensor([1]))["total"].backward()
    assert torch.equal(network.layer1[0].od.gates.bn_everything.running_mean, before)
    network.losses(torch.randn(2, 3, frames, 64, 64), torch.tensor([1, 2]))["total"].backward()
    assert not torch.equal(network.layer1[0].od.gates.bn_everything.running_mean, before)


def test_7_batch_norm_of_several_values_is_batch_norm() -> None:
    x = torch.randn(2, 4)
    torch.testing.assert_close(normalise(nn.BatchNorm1d(4), x), nn.BatchNorm1d(4)(x))


# Options.


def test_the_norm_makes_content_as_different_as_the_code() -> None:
    """Over the frames of a batch, what goes into attention has variance 1 in each channel before the code."""
    module = models.build("stam", 4, tiny=True, temporal_norm=True, temporal_pos="none").layer2[0].sthac.temporal
    seen = []
    module.norm1.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].flatten(0, 1)))
    module(10 * torch.randn(24, module.reduce.in_features, 7, 7), 4)
    torch.testing.assert_close(seen[0].mean(0), module.reduce.bias, rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[0].std(0, correction=0), torch.ones(seen[0].shape[1]), rtol=0, atol=1e-3)


def test_the_code_of_time_is_scaled() -> None:
    """By the factor, and by nothing else: with 0.5 it lies half way between none and all of it."""
    inputs = []
    for options in ({"temporal_pos": "none"}, {"temporal_pos_scale": 0.5}, {}):
        torch.manual_seed(3)
        module = models.build("stam", 4, tiny=True, **options).layer2[0].sthac.temporal
        module.norm1.register_forward_hook(lambda _module, given, _output: inputs.append(given[0]))
        module(torch.ones(8, module.reduce.in_features, 7, 7), 4)
    none, half, whole = inputs
    torch.testing.assert_close(half - none, (whole - none) / 2)
    torch.testing.assert_close(whole[0, 0, :4] - none[0, 0, :4], torch.tensor([0.0, 1.0, 0.0, 1.0]))


def test_stages_choose_which_blocks_adapt() -> None:
    with torch.device("meta"):
        network = models.build("stam", 4, stages=(2, 4))
    counts = [sum(isinstance(block, STAMBlock) for block in getattr(network, f"layer{n}")) for n in range(1, 5)]
    assert counts == [0, 4, 0, 3]


def test_filters_may_start_at_random() -> None:
    network = models.build("stam", 4, tiny=True, **MIXED, filter_init_std=1e-3)
    assert network.layer4[0].sthac.filters.std().item() == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize("mix", ["softmax", "sigmoid"])
def test_standardised_shares_differ_from_the_start(mix: str) -> None:
    """Over a batch, each filter's logits have mean 0 and variance 1, whatever the mean of the branches."""
    module = models.build("stam", 4, tiny=True, mix=mix, standardise=True).layer2[0].sthac
    nn.init.constant_(module.temporal.head.bias, 5)
    share = module.mixing(torch.randn(24, module.filters.shape[1], 7, 7), 4)
    logit = share.logit() if mix == "sigmoid" else share.log()
    if mix == "softmax":
        assert share.std(0).min() > 0.05
        logit = logit - logit.mean(1, keepdim=True)
    torch.testing.assert_close(logit.mean(0), torch.zeros(4), rtol=0, atol=1e-4)
    if mix == "sigmoid":
        torch.testing.assert_close(logit.std(0, correction=0), torch.ones(4), rtol=1e-2, atol=0)


def test_a_scale_of_filters_is_that_of_their_effect(clip: Tensor) -> None:
    scaled = with_random_filters(ready("stam", tiny=True, **MIXED, filter_scale=10.0))
    larger = with_random_filters(ready("stam", tiny=True, **MIXED))
    assert (logits(scaled, clip) - logits(larger, clip)).abs().max() > 1e-4
    with torch.no_grad():
        for module in sthac(larger):
            module.filters.mul_(10)
    torch.testing.assert_close(logits(scaled, clip), logits(larger, clip), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_filters": 0}, "n_filters must be at least 1, not 0"),
        ({"temperature": 0.0}, "temperature must be above 0, not 0.0"),
        ({"temperature_start": 0.0}, "temperature_start must be above 0, not 0.0"),
        ({"anneal_epochs": -1.0}, "anneal_epochs must be above 0, not -1.0"),
        ({"temporal_pos_scale": 0.0}, "temporal_pos_scale must be above 0, not 0.0"),
        ({"filter_scale": 0.0}, "filter_scale must be above 0, not 0.0"),
        ({"temperature_start": 30.0}, "temperature_start=30.0 has no effect: mix=branch, the default, mixes no"),
        ({"n_filters": 8}, "n_filters=8 has no effect: mix=branch, the default, mixes no filters"),
        ({"filter_scale": 2.0}, "filter_scale=2.0 has no effect: mix=branch"),
        ({**MIXED, "temperature": 2.0, "branches": "none"}, "has no effect: branches=none mixes all filters evenly"),
        ({**MIXED, "standardise": True, "branches": "none"}, "standardise=True has no effect: branches=none"),
        ({"temporal_norm": True, "branches": "spatial"}, "temporal_norm=True has no effect: branches=spatial has no"),
        ({"temporal_pos_scale": 0.1, "temporal_pos": "none"}, "temporal_pos_scale=0.1 has no effect: temporal_pos"),
        ({"filter_init_std": -1.0}, "filter_init_std must be at least 0, not -1.0"),
        ({"filter_size": 5}, "filter_size must be one of 3, 1, not 5"),
        ({"branches": "none"}, "branches=none leaves nothing to calibrate with; give mix=softmax"),
        ({"od": False, "od_gates": False}, "od_gates=False has no effect"),
        ({"stages": [0]}, "stages must be among 1, 2, 3, 4, not (0,)"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict, sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=r"must be|nothing|no effect|stages") as error:
        models.build("stam", 4, **options)
    assert sentence in str(error.value)
