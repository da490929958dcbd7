"""The behaviours of docs/papers/stin.md, section 7, its counts, and its options."""

import pytest
import torch
from network_helpers import logits, randomise, ready
from torch import Tensor, nn

import models
from models.common.cost import cost, parameters
from models.common.errors import ModelError

pytestmark = pytest.mark.quick
LABELS = torch.tensor([1, 4])


@pytest.fixture(scope="module")
def flow() -> Tensor:
    return torch.randn(2, 10, 3, 48, 48, generator=torch.Generator().manual_seed(2))


def trunk_gradients(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: p.grad
        for name, p in network.named_parameters()
        if p.grad is not None and not name.startswith(("auxiliary.", "attention."))
    }


# Counts.


@pytest.mark.parametrize(
    ("classes", "deployed", "in_training"), [(101, 23_714_981, 24_856_074), (51, 23_612_531, 24_740_774)]
)
def test_parameters_of_the_spatial_stream(classes: int, deployed: int, in_training: int) -> None:
    with torch.device("meta"):
        network = models.build("stin_spatial", classes)
        assert parameters(network) == in_training
        assert parameters(network.deploy()) == deployed


@pytest.mark.parametrize(
    ("classes", "plain", "deployed", "in_training"),
    [(101, 23_736_933, 27_935_333, 28_142_282), (51, 23_634_483, 27_832_883, 27_937_382)],
)
def test_parameters_of_the_temporal_stream(classes: int, plain: int, deployed: int, in_training: int) -> None:
    with torch.device("meta"):
        network = models.build("stin_temporal", classes)
        assert parameters(network) == in_training
        assert parameters(network.deploy()) == deployed
        assert parameters(models.build("stin_temporal", classes, attention=False, lambda_t=0.0)) == plain


def test_parameters_with_bn_inception() -> None:
    with torch.device("meta"):
        spatial = models.build("stin_spatial", 101, backbone="bninception")
        temporal = models.build("stin_temporal", 101, backbone="bninception")
        assert parameters(spatial.auxiliary) == 878_949
        assert parameters(temporal.attention) == 2_099_200
        assert parameters(temporal.auxiliary) == 103_525
        assert parameters(spatial.deploy()) == 10_373_765
        for classes, count in ((1000, 11_295_240), (400, 10_680_240)):
            assert parameters(models.build("stin_spatial", classes, backbone="bninception").deploy()) == count
        macs, _ = cost(spatial, torch.empty(1, 3, 1, 224, 224))
    assert macs / 1e9 == pytest.approx(2.03, rel=3e-3)


@pytest.mark.parametrize(("backbone", "count"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_parameters_of_the_small_resnets(backbone: str, count: int) -> None:
    """Torchvision's, at 1000 classes."""
    with torch.device("meta"):
        assert parameters(models.build("stin_spatial", 1000, backbone=backbone).deploy()) == count


def test_costs() -> None:
    with torch.device("meta"):
        spatial, temporal = models.build("stin_spatial", 101), models.build("stin_temporal", 101)
        assert cost(spatial, torch.empty(1, 3, 1, 224, 224)).macs / 1e9 == pytest.approx(4.087, rel=1e-3)
        assert cost(temporal, torch.empty(1, 10, 1, 224, 224)).macs / 1e9 == pytest.approx(4.571, rel=1e-3)


def test_costs_of_training() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad():
        for name, shape, expected in (("stin_spatial", (1, 3, 6), 24.764), ("stin_temporal", (1, 10, 3), 13.713)):
            network = models.build(name, 101)
            with FlopCounterMode(display=False) as counter:
                network.scores(torch.empty(*shape, 224, 224))
            assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=1e-3)


# Behaviour, numbered as on the page.


@pytest.mark.parametrize("training", [False, True])
def test_1_the_flow_stream_starts_as_the_plain_trunk(training: bool, flow: Tensor) -> None:
    tsn = ready("tsn", tiny=True, stream="flow")
    network = models.build("stin_temporal", 6, tiny=True)
    network.load_state_dict(tsn.state_dict(), strict=False)
    torch.testing.assert_close(logits(network.train(training), flow), logits(tsn.train(training), flow))


def test_2_attention_sums_to_one(flow: Tensor) -> None:
    network = ready("stin_temporal", tiny=True)
    maps = network.forward_features(flow).transpose(1, 2).flatten(0, 1)
    _, weights = network.attention(maps)
    assert weights.shape == (6, maps.shape[2] * maps.shape[3])
    torch.testing.assert_close(weights.sum(1), torch.ones(6))


def test_3_the_auxiliary_loss_trains_queries_and_keys_from_the_start(flow: Tensor) -> None:
    network = models.build("stin_temporal", 6, tiny=True)
    nn.init.normal_(network.fc.weight)
    nn.init.normal_(network.auxiliary.fc.weight)
    layers = (network.attention.query, network.attention.key, network.attention.value)
    main, pooled = network.scores(flow)
    for score, expected in ((main, (False, False, False)), (pooled, (True, True, False))):
        gradients = torch.autograd.grad(
            nn.functional.cross_entropy(score, LABELS),
            [layer.weight for layer in layers],
            retain_graph=True,
            allow_unused=True,
        )
        assert tuple(g is not None and g.abs().max().item() > 0 for g in gradients) == expected


def test_4_equal_frames_differ_in_nothing(rgb: Tensor) -> None:
    network = models.build("stin_spatial", 6, tiny=True)
    nn.init.normal_(network.auxiliary.fc.bias)
    still = rgb[:, :, ::2].repeat_interleave(2, dim=2)
    maps = network.forward_features(still)
    assert network.auxiliary.changes(maps, pairs=True).abs().max() == 0
    _, change = network.scores(still)
    torch.testing.assert_close(change, network.auxiliary.fc.bias.expand(2, -1))


def test_5_the_auxiliary_loss_alone_reaches_the_first_convolution(rgb: Tensor) -> None:
    network = models.build("stin_spatial", 6, tiny=True)
    _, change = network.scores(rgb)
    nn.functional.cross_entropy(change, LABELS).backward()
    assert network.conv1.weight.grad.abs().max() > 0


def test_6_the_difference_is_antisymmetric(rgb: Tensor) -> None:
    network = ready("stin_spatial", tiny=True)
    network.auxiliary.bn, network.auxiliary.relu = nn.Identity(), nn.Identity()
    maps = network.forward_features(rgb)
    swapped = maps.unflatten(2, (3, 2)).flip(3).flatten(2, 3)
    forwards = network.auxiliary.changes(maps, pairs=True)
    torch.testing.assert_close(network.auxiliary.changes(swapped, pairs=True), -forwards)
    assert forwards.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "channels", "options"),
    [("stin_spatial", 3, {}), ("stin_spatial", 3, {"ad_target": "flow"}), ("stin_temporal", 10, {})],
)
def test_7_eval_never_runs_what_only_training_needs(name: str, channels: int, options: dict) -> None:
    network = ready(name, tiny=True, **options)

    def refuse(*_: object) -> None:
        raise AssertionError("ran in eval mode")

    for module in network.auxiliary.modules():
        module.register_forward_pre_hook(refuse)
    for frames in (1, 2, 5):
        assert logits(network, torch.randn(2, channels, frames, 48, 48)).shape == (2, 6)
    clip = torch.randn(2, channels, 4, 48, 48)
    expected = logits(network, clip)
    assert torch.equal(logits(network.deploy(), clip), expected)


@pytest.mark.parametrize(("name", "channels"), [("stin_spatial", 3), ("stin_temporal", 10)])
def test_7_auxiliary_scores_can_be_added_in_eval(name: str, channels: int) -> None:
    plain, fused = ready(name, tiny=True), ready(name, tiny=True, fuse_aux=True)
    fused.load_state_dict(plain.state_dict())
    nn.init.normal_(fused.auxiliary.fc.weight)
    clip = torch.randn(2, channels, 4, 48, 48)
    with torch.no_grad():
        main, added = fused.scores(clip)
    torch.testing.assert_close(logits(fused, clip), main + 0.5 * added)
    assert added.abs().max() > 1e-3


def test_8_the_order_of_segments_does_not_matter(rgb: Tensor, flow: Tensor) -> None:
    spatial, temporal = ready("stin_spatial", tiny=True), ready("stin_temporal", tiny=True)
    segments = ready("stin_spatial", tiny=True, ad_mode="segment")
    for network in (spatial, temporal, segments):
        nn.init.normal_(network.auxiliary.fc.weight)
    order = torch.tensor([2, 0, 1])
    pairs = rgb.unflatten(2, (3, 2))[:, :, order].flatten(2, 3)
    with torch.no_grad():
        for network, clip, other in ((spatial, rgb, pairs), (temporal, flow, flow[:, :, order])):
            for one, two in zip(network.scores(clip), network.scores(other), strict=True):
                torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
        (main, change), (main2, change2) = segments.scores(rgb), segments.scores(rgb[:, :, [3, 0, 5, 1, 4, 2]])
    torch.testing.assert_close(main, main2, rtol=1e-4, atol=1e-5)
    assert (change - change2).abs().max() > 1e-3


def test_9_without_the_losses_the_gradients_are_tsns(rgb: Tensor, flow: Tensor) -> None:
    for name, off, clip, seen in (
        ("stin_spatial", {"lambda_s": 0.0}, rgb, rgb[:, :, ::2]),
        ("stin_temporal", {"lambda_t": 0.0, "attention": False}, flow, flow),
    ):
        network = ready(name, tiny=True, **off)
        tsn = ready("tsn", tiny=True, stream=network.stream)
        tsn.load_state_dict(network.state_dict())
        assert network.auxiliary is None
        network.losses(clip, LABELS)["total"].backward()
        tsn.losses(seen, LABELS)["total"].backward()
        theirs = trunk_gradients(tsn)
        for key, gradient in trunk_gradients(network).items():
            torch.testing.assert_close(gradient, theirs[key], rtol=1e-4, atol=1e-6)


def test_losses_add_up(rgb: Tensor, flow: Tensor) -> None:
    for name, clip, option, logged in (
        ("stin_spatial", rgb, "lambda_s", "loss_difference"),
        ("stin_temporal", flow, "lambda_t", "loss_attention"),
    ):
        losses = models.build(name, 6, tiny=True, **{option: 0.25}).losses(clip, LABELS)
        assert set(losses) == {"total", "logits", "loss_main", logged}
        torch.testing.assert_close(losses["total"], losses["loss_main"] + 0.25 * losses[logged])


# How clips are cut for it.


@pytest.mark.parametrize(
    ("options", "snippet", "step", "of_test", "target"),
    [
        ({}, 2, 1, {"rgb": 1}, "none"),
        ({"ad_delta": 4}, 2, 4, {"rgb": 1}, "none"),
        ({"ad_mode": "segment"}, 1, 1, {"rgb": 1}, "none"),
        ({"ad_target": "flow"}, 2, 1, {"rgb": 1}, "flow"),
        ({"ad_target": "flow", "lambda_s": 0.0}, 2, 1, {"rgb": 1}, "none"),
        ({"fuse_aux": True, "ad_delta": 2}, 2, 2, None, "none"),
        ({"fuse_aux": True, "lambda_s": 0.0}, 2, 1, {"rgb": 1}, "none"),
    ],
)
def test_options_decide_the_clip(options: dict, snippet: int, step: int, of_test: dict | None, target: str) -> None:
    about = models.describe("stin_spatial", options)
    clip = about.training_clip("rgb")
    assert (clip["snippet"], clip["snippet_step"], clip["target"]) == (snippet, step, target)
    assert about.test_snippet == of_test


@pytest.mark.parametrize("name", ["stin_spatial", "stin_temporal"])
def test_partial_bn_leaves_the_new_layers_alone(name: str) -> None:
    network = models.build(name, 6, tiny=True, partial_bn=True)
    layers = {key: m for key, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    training = {key for key, layer in layers.items() if layer.training}
    assert training == {"bn1"} | {key for key in layers if key.startswith(("auxiliary", "attention"))}
    assert len(training) == {"stin_spatial": 3, "stin_temporal": 2}[name]


# Options, and both streams together.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stin_spatial", {"ad_mode": "segment"}),
        ("stin_spatial", {"ad_tap": "layer3"}),
        ("stin_temporal", {"att_aux": "attentional_pooling"}),
        ("stin_temporal", {"att_aux": "attentional_pooling", "attention": False}),
    ],
)
def test_other_readings_train_every_parameter(name: str, options: dict, rgb: Tensor, flow: Tensor) -> None:
    network = models.build(name, 6, tiny=True, **options)
    network.losses(rgb if network.stream == "rgb" else flow, LABELS)["total"].backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("backbone", ["resnet18", "bninception"])
@pytest.mark.parametrize("name", ["stin_spatial", "stin_temporal"])
def test_other_trunks_run(name: str, backbone: str) -> None:
    network = models.build(name, 6, backbone=backbone)
    clip = torch.randn(2, 3 if network.stream == "rgb" else 10, 2, 64, 64)
    network.losses(clip, LABELS)["total"].backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("stin_spatial", {"lambda_s": 2.0}, "lambda_s must be from 0 to 1, not 2.0"),
        ("stin_spatial", {"ad_tap": "layer3", "backbone": "bninception"}, "layer3 is a stage of the ResNets"),
        ("stin_spatial", {"ad_delta": 0}, "ad_delta must be at least 1, not 0"),
        ("stin_spatial", {"ad_delta": 1.5}, "ad_delta must be a whole number, not 1.5"),
        ("stin_spatial", {"ad_delta": 2, "ad_mode": "segment"}, "ad_delta=2 has no effect: ad_mode=segment"),
        (
            "stin_spatial",
            {"ad_target": "flows"},
            "ad_target must be one of cls, flow, not 'flows'; did you mean 'flow'?",
        ),
        ("stin_spatial", {"ad_target": "flow", "ad_mode": "segment"}, "between neighbouring frames only"),
        ("stin_spatial", {"ad_target": "flow", "ad_delta": 2}, "between neighbouring frames only"),
        ("stin_spatial", {"ad_target": "flow", "fuse_aux": True}, "ad_target=flow has none to add"),
        ("stin_spatial", {"stream": "flow"}, "unknown stream 'flow' of stin_spatial"),
        ("stin_spatial", {"backbone": "resnet18", "tiny": True}, "exclude each other"),
        ("stin_temporal", {"attention": False}, "set lambda_t=0 or att_aux=attentional_pooling"),
        ("stin_temporal", {"att_dim": 0}, "att_dim must be at least 1, not 0"),
        ("stin", {"fusion_weights": [1.0]}, "one for rgb and one for flow"),
    ],
)
def test_wrong_options_are_one_sentence(name: str, options: dict, sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError) as error:
        models.build(name, 4, **options)
    assert sentence in str(error.value)


def test_wrong_training_clips_are_one_sentence() -> None:
    with pytest.raises(ModelError, match="trained on pairs of frames; got a clip of 3"):
        models.build("stin_spatial", 4, tiny=True).losses(torch.randn(1, 3, 3, 48, 48), LABELS[:1])
    with pytest.raises(ModelError, match="at least 2 segments"):
        models.build("stin_spatial", 4, tiny=True, ad_mode="segment").losses(torch.randn(1, 3, 1, 48, 48), LABELS[:1])


def test_both_streams_together(rgb: Tensor, flow: Tensor) -> None:
    spatial, temporal = ready("stin_spatial", tiny=True), ready("stin_temporal", tiny=True)
    both = models.build("stin", 6, tiny=True).eval()
    both.load_streams(spatial.state_dict(), temporal.state_dict())
    with torch.no_grad():
        joined = both(rgb, flow)
    torch.testing.assert_close(joined, logits(spatial, rgb) + 1.5 * logits(temporal, flow))
    with pytest.raises(ModelError, match="train stin_spatial and stin_temporal"):
        both.losses(rgb, LABELS)
    with torch.device("meta"):
        assert parameters(models.build("stin", 101)) == 23_714_981 + 27_935_333


def test_start_values() -> None:
    network = models.build("stin_temporal", 50, tiny=True, att_aux="attentional_pooling")
    assert network.auxiliary.top_down.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert network.attention.bn.weight.abs().max() == 0
    randomise(network)
