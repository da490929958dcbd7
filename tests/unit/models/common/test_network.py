"""What all networks promise: shapes, losses, groups, partial batch norm, precision."""

import pytest
import torch
from network_helpers import IN_A_RESNET, NETWORKS, clip_for, last_linear
from torch import nn

import models
from models.common.errors import ModelError
from models.common.network import CHANNELS, Network, fold, refold, unfold

pytestmark = pytest.mark.quick
every_network = pytest.mark.parametrize("name", NETWORKS)
every_stream = pytest.mark.parametrize(
    ("name", "stream"), [(name, stream) for name in NETWORKS for stream in models.describe(name).streams]
)
PLAIN = {
    "stin_spatial": {"lambda_s": 0.0, "ad_mode": "segment"},
    "stin_temporal": {"lambda_t": 0.0},
    "tpn": {"auxiliary_weight": 0.0},
    "dsts_tpn": {"auxiliary_weight": 0.0},
}
"""Options without which a network's loss is more than the cross-entropy of its logits."""


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


# Shapes.


@every_stream
@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ("C 8 64 64", "takes clips [B, {C}, T, H, W]; got [{C}, 8, 64, 64]"),
        ("2 13 8 64 64", "({stream}) takes clips [B, {C}, T, H, W]; got [2, 13, 8, 64, 64]"),
        ("2 8 C 64 64", "takes clips [B, {C}, T, H, W]; got [2, 8, {C}, 64, 64]"),
        ("2 C 0 64 64", "at least 1 frame of 32x32 pixels; got 0 of 64x64"),
        ("2 C 8 64 31", "at least 1 frame of 32x32 pixels; got 8 of 64x31"),
    ],
)
def test_a_wrong_clip_is_one_sentence(name: str, stream: str, shape: str, sentence: str) -> None:
    """C stands for the stream's channels."""
    channels = CHANNELS[stream]
    clip = torch.zeros([channels if size == "C" else int(size) for size in shape.split()])
    with pytest.raises(ModelError) as error:
        models.build(name, 3, stream=stream, tiny=True)(clip)
    assert sentence.format(C=channels, stream=stream) in str(error.value)


@every_network
@pytest.mark.parametrize("size", [(32, 32), (56, 72), (33, 47), (112, 112)])
def test_any_size_from_32_pixels_on(name: str, size: tuple[int, int]) -> None:
    network = models.build(name, 3, tiny=True).eval()
    clip = clip_for(network, 1, 2, *size)
    assert network(clip).shape == (1, 3)
    features = network.forward_features(clip)
    assert features.dim() == 5
    assert features.shape[0] == 1
    if name in IN_A_RESNET and name != "tpn":  # which pools time
        assert features.shape[2] == 2


@every_network
def test_eval_is_deterministic_and_training_draws_dropout(name: str) -> None:
    network = models.build(name, 3, tiny=True, dropout=0.5)
    nn.init.normal_(last_linear(network).weight)
    clip = clip_for(network, 2, 4, 48, 48)
    assert not torch.equal(network(clip), network(clip))
    network.eval()
    assert torch.equal(network(clip), network(clip))


def test_folding_time_keeps_frames_in_order() -> None:
    clip = torch.randn(2, 3, 4, 5, 6)
    frames = fold(clip)
    assert torch.equal(frames, clip.transpose(1, 2).reshape(8, 3, 5, 6))
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert unfold(frames, 4).data_ptr() == frames.data_ptr()
    assert torch.equal(refold(unfold(frames, 4)), frames)


# Losses.


@every_network
def test_losses_are_the_weighted_mean(name: str) -> None:
    network = models.build(name, 3, tiny=True, **PLAIN.get(name, {})).eval()
    clip, labels = clip_for(network, 3, 2, 32, 32), torch.tensor([0, 1, 2])
    plain = network.losses(clip, labels)
    assert {key for key in plain if not key.startswith("busiest_neuron")} == {"total", "logits"}
    expected = nn.functional.cross_entropy(network(clip), labels)
    torch.testing.assert_close(plain["total"], expected)
    torch.testing.assert_close(network.losses(clip, labels, torch.ones(3))["total"], expected)
    without = network.losses(clip, labels, torch.tensor([1.0, 1.0, 0.0]))["total"]
    torch.testing.assert_close(without, network.losses(clip[:2], labels[:2])["total"])
    tilted = network.losses(clip, labels, torch.tensor([1.0, 3.0, 0.0]))["total"]
    each = nn.functional.cross_entropy(network(clip), labels, reduction="none")
    torch.testing.assert_close(tilted, (each[0] + 3 * each[1]) / 4)


@every_network
def test_a_batch_of_weight_0_costs_nothing_and_teaches_nothing(name: str) -> None:
    network = models.build(name, 3, tiny=True)
    total = network.losses(clip_for(network, 2, 2, 32, 32), torch.tensor([0, 1]), torch.zeros(2))["total"]
    total.backward()
    assert total == 0
    assert all((p.grad == 0).all() for p in network.parameters())


# Optimiser groups and partial batch norm.


ALL_ALIKE = {"tpn", "dsts_tpn", "mtnet_s", "mtnet_m", "mtnet_l", "mtconv_r50", "r3d50"}
NORMS_APART = {"swin3d_b", "dsts_swin_b", "x3d_s", "x3d_m", "x3d_l", "slowonly"}
VECTORS_APART = {"tada2d", "stam"}
"""Networks whose sources train all parameters at one rate, by what does not decay; the others have TSN's groups."""


def bias_and_norm(name: str) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Learning-rate multiplier and weight decay of biases and of norms."""
    if name in ALL_ALIKE | NORMS_APART | VECTORS_APART:
        return (1, name not in VECTORS_APART), (1, name in ALL_ALIKE)
    return (2, False), (1, False)


@every_stream
def test_groups_hold_each_trainable_parameter_once(name: str, stream: str) -> None:
    bias, norms = bias_and_norm(name)
    first = {"rgb": 1.0, "flow": 5.0}[stream] if bias[0] == 2 else 1.0
    with torch.device("meta"):
        network = models.build(name, 3, stream=stream)
    groups = network.parameter_groups()
    grouped = [parameter for group in groups for parameter in group.names]
    assert sorted(grouped) == sorted(name for name, _ in network.named_parameters())
    by_name = {parameter: group for group in groups for parameter in group.names}
    first_conv, norm = (
        next(path for path, module in network.named_modules() if isinstance(module, kind))
        for kind in (nn.modules.conv._ConvNd, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm))
    )
    expected = {
        f"{first_conv}.weight": (first, True),
        f"{network.classifier}.weight": (1, True),
        f"{network.classifier}.bias": bias,
        f"{norm}.bias": norms,
    }
    assert {key: (by_name[key].lr_multiplier, by_name[key].weight_decay) for key in expected} == expected
    assert {group.role for group in groups} == {"ordinary", *(["upstream"] if hasattr(network, "gradients") else [])}


def test_groups_of_layers_that_the_protocol_does_not_name() -> None:
    class Odd(Network):
        def __init__(self) -> None:
            super().__init__(2, stream="flow", options=None)
            self.stem = nn.Conv2d(10, 4, 3)
            self.norm = nn.LayerNorm(4)
            self.cell = nn.GRU(4, 4)
            self.token = nn.Parameter(torch.zeros(1, 4))
            self.scale = nn.Parameter(torch.zeros(4))
            self.frozen = nn.Linear(4, 4).requires_grad_(False)

    groups = {(g.lr_multiplier, g.weight_decay): set(g.names) for g in Odd().parameter_groups()}
    assert groups == {
        (5, True): {"stem.weight"},
        (10, False): {"stem.bias"},
        (1, True): {"token", "cell.weight_ih_l0", "cell.weight_hh_l0"},
        (1, False): {"scale", "norm.weight", "norm.bias", "cell.bias_ih_l0", "cell.bias_hh_l0"},
    }


def test_partial_bn_counts() -> None:
    with torch.device("meta"):
        network = models.build("tsn", 101, partial_bn=True)
    layers = batch_norms(network)
    assert len(layers) == 53
    assert sum(not layer.training for layer in layers) == 52
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 23_661_989
    assert sum(p.numel() for p in network.parameters()) == 23_714_981
    grouped = [parameter for group in network.parameter_groups() for parameter in group.names]
    assert sorted(grouped) == sorted(name for name, p in network.named_parameters() if p.requires_grad)


def test_partial_bn_survives_train_and_keeps_its_statistics() -> None:
    network = models.build("tsn", 3, tiny=True, partial_bn=True)
    network.eval()
    network.train()
    layers = batch_norms(network)
    assert [layer.training for layer in layers] == [True] + [False] * (len(layers) - 1)
    before = [layer.running_mean.clone() for layer in layers]
    network.losses(torch.randn(2, 3, 2, 32, 32), torch.tensor([0, 1]))["total"].backward()
    moved = [not torch.equal(layer.running_mean, old) for layer, old in zip(layers, before, strict=True)]
    assert moved == [True] + [False] * (len(layers) - 1)
    assert not network.eval().bn1.training


# Keys, precision.


def test_keys_are_torchvisions() -> None:
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = ["conv1.weight", *(f"bn1.{part}" for part in norm), "fc.weight", "fc.bias"]
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for index in range(blocks):
            block = f"layer{stage}.{index}"
            for n in (1, 2, 3):
                expected += [f"{block}.conv{n}.weight", *(f"{block}.bn{n}.{part}" for part in norm)]
            if index == 0:
                expected += [f"{block}.downsample.0.weight", *(f"{block}.downsample.1.{part}" for part in norm)]
    with torch.device("meta"):
        state = models.build("tsn", 1000).state_dict()
        shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert sorted(shapes) == sorted(expected)
    assert len(shapes) == 320
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer2.0.conv1.weight"] == (128, 256, 1, 1)
    assert shapes["layer2.0.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["layer2.0.downsample.0.weight"] == (512, 256, 1, 1)
    assert shapes["fc.weight"] == (1000, 2048)


def test_the_stride_is_on_the_3x3_convolution() -> None:
    with torch.device("meta"):
        block = models.build("tsn", 2).layer3[0]
    assert [conv.stride for conv in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]


@every_network
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_gives_no_nan(name: str, precision: torch.dtype) -> None:
    network = models.build(name, 3, tiny=True)
    # Not 4 frames, of which Swin keeps 2: then torch 2.13's bfloat16 weight gradient of a (3, 1, 1) kernel reads memory
    # that it never wrote. On a CPU alone, where nothing trains in bfloat16.
    clip, labels = 3 * clip_for(network, 2, 8, 48, 48), torch.tensor([0, 2])
    with torch.autocast("cpu", dtype=precision):
        losses = network.losses(clip, labels)
    losses["total"].backward()
    assert losses["total"].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert network.to(precision).eval()(clip.to(precision)).isfinite().all()


@every_network
def test_the_state_survives_a_file(name: str, tmp_path) -> None:
    network = models.build(name, 3, tiny=True).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = models.build(name, 3, tiny=True).eval()
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    clip = clip_for(network, 1, 2, 32, 32)
    assert torch.equal(network(clip), again(clip))
