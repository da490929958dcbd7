"""DSTS on its two trunks: docs/papers/dsts.md, sections 2, 3 and 7."""

import pytest
import torch
from network_helpers import assert_clips_apart_and_directed, logits, ready
from torch import nn

import models
from models.common.cost import cost, parameters
from models.common.errors import ModelError
from models.common.weights import adopt
from models.dsts import specialization
from models.dsts.specialization import DSTS, Layer, SpecializationSettings

pytestmark = pytest.mark.quick
TRUNKS = ("dsts_tpn", "dsts_swin_b")
SETTINGS = SpecializationSettings(n_neurons=5, n_layers=2, neck_channels=16)


def module(**changes: object) -> DSTS:
    """A module on 24 channels with several neurons in use and statistics as after training."""
    torch.manual_seed(1)
    made = DSTS(24, SpecializationSettings(**{"n_neurons": 5, "n_layers": 2, "neck_channels": 16, **changes}))
    with torch.no_grad():
        for part in made.modules():
            if isinstance(part, nn.BatchNorm3d):
                part.running_mean.uniform_(-0.2, 0.2)
                part.running_var.uniform_(0.5, 1.5)
                part.weight.uniform_(0.5, 1.0)
                part.bias.uniform_(-0.2, 0.2)
        for layer in made.layers:
            layer.scoring.mul_(30)
            if layer.neurons.settings.learns_gates:
                nn.init.normal_(layer.neurons.gates)
    return made


def features(samples: int = 12, frames: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    offset = torch.randn(samples, 24, 1, 1, 1, generator=generator)
    return torch.randn(samples, 24, frames, 3, 5, generator=generator) + offset


# Size and cost.


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("dsts_tpn", 48, 74_388_336),
        ("dsts_tpn", 174, 74_646_510),
        ("dsts_tpn", 400, 75_109_584),
        ("dsts_swin_b", 48, 99_810_936),
        ("dsts_swin_b", 174, 99_940_086),
        ("dsts_swin_b", 400, 100_171_736),
    ],
)
def test_parameters_are_those_of_the_page(name: str, classes: int, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(models.build(name, classes).deploy()) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 11_435_776),
        ({"n_neurons": 5}, 6_047_776),
        ({"n_neurons": 15}, 16_823_776),
        ({"n_layers": 1}, 4_251_776),
        ({"n_layers": 5}, 18_619_776),
        ({"sts": False}, 22_941_376),
        ({"gates": False}, 11_430_976),
        ({"synapse": False}, 11_435_776),
        ({"neck_channels": 128}, 7_429_120),
        ({"neck_channels": 164}, 11_997_088),
        ({"neck_channels": 170}, 12_864_256),
        ({"neck_channels": None}, 30 * (14 * 2048**2 + 5 * 2048)),
        ({"fuse_bn": True}, 11_435_776 + 30 * 2 * 160),
    ],
)
def test_parameters_of_every_ablation_are_those_of_the_page(options: dict, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(DSTS(2048, SpecializationSettings(**options))) == expected


@pytest.mark.parametrize(
    ("channels", "frames", "dense", "gmacs"),
    [(2048, 8, False, 0.648), (2048, 8, True, 4.171), (1024, 16, False, 1.040)],
)
def test_cost_of_the_module_is_that_of_the_page(channels: int, frames: int, dense: bool, gmacs: float) -> None:
    made = DSTS(channels, SpecializationSettings(dense_eval=dense))
    macs, _ = cost(made, torch.randn(1, channels, frames, 7, 7))
    assert macs / 1e9 == pytest.approx(gmacs, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "frames", "gmacs"),
    [
        ("dsts_tpn", {}, 8, 48.760),
        ("dsts_tpn", {"keep_temporal_pool": True}, 8, 41.314),
        ("dsts_swin_b", {}, 32, 321.40),
    ],
)
def test_cost_of_the_networks_is_that_of_the_page(name: str, options: dict, frames: int, gmacs: float) -> None:
    with torch.device("meta"):
        network = models.build(name, 174 if "swin" in name else 48, **options)
        macs, _ = cost(network, torch.empty(1, 3, frames, 224, 224))
    assert macs / 1e9 == pytest.approx(gmacs, rel=1e-3)


# The choice of a neuron.


def test_pooled_scoring_is_the_convolution_summed_over_everything() -> None:
    torch.manual_seed(0)
    layer, x = Layer(16, SpecializationSettings(impulse_norm="sum")).double(), torch.randn(3, 16, 4, 5, 6).double()
    maps = [nn.functional.conv3d(x, kernel[:, :, None, None, None]) for kernel in layer.scoring]
    literal = torch.stack([each.sum((1, 2, 3, 4)) for each in maps], 1)
    torch.testing.assert_close(layer.impulses(x), literal, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("norm", "factor"), [("positions", 1 / 120), ("mean_all", 1 / 120 / 16)])
def test_norms_of_the_impulse_scale_it_alone(norm: str, factor: float) -> None:
    layer, x = Layer(16, SpecializationSettings(impulse_norm="sum")), torch.randn(3, 16, 4, 5, 6)
    other = Layer(16, SpecializationSettings(impulse_norm=norm, impulse_scale=2.0))
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other.impulses(x), 2 * factor * layer.impulses(x))


@pytest.mark.parametrize("channels", [16, 64])
def test_impulses_of_a_new_layer_are_alike_whatever_it_scores(channels: int) -> None:
    torch.manual_seed(0)
    layer, x = Layer(channels, SETTINGS), torch.randn(200, channels, 2, 3, 3)
    impulses = layer.impulses(7 * x + 50 * torch.randn(channels, 1, 1, 1))
    assert impulses.std().item() == pytest.approx(0.5, rel=0.25)
    torch.testing.assert_close(impulses.mean(0), torch.zeros(5), rtol=0, atol=1e-4)


def test_a_single_clip_is_scored_by_running_statistics() -> None:
    torch.manual_seed(0)
    layer, x = Layer(16, SETTINGS), 7 * torch.randn(40, 16, 2, 3, 3) + 5
    for _ in range(60):
        layer.impulses(x)
    alone = layer.impulses(x[:1])
    torch.testing.assert_close(alone, layer.eval().impulses(x)[:1])
    torch.testing.assert_close(alone, layer.train().impulses(x)[:1], rtol=0.05, atol=0.05)


def test_training_chooses_exactly_one_neuron_with_the_gradient_of_the_softmax() -> None:
    torch.manual_seed(0)
    impulses = torch.randn(200, 5, requires_grad=True)
    one_hot = specialization.gumbel_softmax(impulses, 0.7)
    assert set(one_hot.unique().tolist()) == {0.0, 1.0}
    assert (one_hot.sum(1) == 1).all()
    assert len(one_hot.argmax(1).unique()) == 5
    towards = torch.randn(200, 5)
    torch.manual_seed(0)
    torch.randn(200, 5)
    soft = ((impulses + specialization.gumbel_noise(impulses)) / 0.7).softmax(1)
    expected = torch.autograd.grad((soft * towards).sum(), impulses)
    torch.testing.assert_close(torch.autograd.grad((one_hot * towards).sum(), impulses), expected)


def test_a_noisy_choice_follows_the_softmax() -> None:
    torch.manual_seed(0)
    impulses = torch.tensor([0.0, 1.0, 2.0])
    chosen = specialization.gumbel_softmax(impulses.expand(20_000, 3), 1.0).mean(0)
    torch.testing.assert_close(chosen, impulses.softmax(0), rtol=0, atol=0.012)  # 3 standard errors


@pytest.mark.parametrize("noise", ["sample", "shared"])
def test_gates_are_binary_and_noisy_in_training_alone(noise: str) -> None:
    torch.manual_seed(0)
    neurons = module(gate_noise=noise).layers[0].neurons
    gates = neurons.temporal_channels(6)
    assert gates.shape == (6 if noise == "sample" else 1, 5, 16)
    assert set(gates.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(gates, neurons.temporal_channels(6))
    nn.init.normal_(neurons.gates, std=0.5)
    neurons.eval()
    assert torch.equal(neurons.temporal_channels(6)[0], (neurons.gates > 0).float())


def test_gates_have_the_gradient_of_the_saturating_sigmoid(monkeypatch: pytest.MonkeyPatch) -> None:
    neurons = module().layers[0].neurons
    with torch.no_grad():
        neurons.gates.copy_(torch.linspace(-4, 4, 80).view(5, 16))
    monkeypatch.setattr(specialization, "gate_noise", lambda draws, gates: torch.zeros(draws, *gates.shape))
    neurons.temporal_channels(1).sum().backward()
    sigmoid = neurons.gates.detach().sigmoid()
    within = (sigmoid > 0.1 / 1.2) & (sigmoid < 1.1 / 1.2)
    torch.testing.assert_close(neurons.gates.grad, 1.2 * sigmoid * (1 - sigmoid) * within)


def test_half_of_the_gates_may_be_soft() -> None:
    torch.manual_seed(0)
    gates = module(semhash_mix=0.5).layers[0].neurons.temporal_channels(50)
    soft = ((gates > 0) & (gates < 1)).float().mean()
    saturated = 0.16  # of the noise about gates of N(0, 1): |n| > 2.4 with n ~ N(0, 2) is 0.09, then some
    assert 0.5 * (1 - saturated) < soft < 0.5


def test_fixed_gates_are_halves_and_nothing_learns_them() -> None:
    made = module(gates=False)
    gates = made.layers[0].neurons.temporal_channels(3)
    assert torch.equal(gates[0, 0], torch.tensor([0.0] * 8 + [1.0] * 8))
    assert not [name for name, _ in made.named_parameters() if name.endswith("gates")]
    assert not [name for name, _ in module(sts=False).named_parameters() if name.endswith("gates")]


# What a layer computes.


def test_a_layer_is_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written out neuron by neuron, with the batch norm of training over all samples."""
    layer, x = module().layers[0], features()[:, :16]
    monkeypatch.setattr(specialization, "gumbel_noise", torch.zeros_like)
    monkeypatch.setattr(specialization, "gate_noise", lambda draws, gates: torch.zeros(draws, *gates.shape))
    neurons = layer.neurons
    expected = torch.zeros_like(x)
    chosen = layer.impulses(x).argmax(1)
    for number in range(5):
        rows = slice(16 * number, 16 * number + 16)
        temporal = (neurons.gates[number] > 0).float()[:, None, None, None]
        sides = 0
        for path, part, padding in (
            (neurons.spatial, 1 - temporal, (0, 1, 1)),
            (neurons.temporal, temporal, (1, 0, 0)),
        ):
            side = nn.functional.conv3d(part * x, path.conv.weight[rows], padding=padding)
            side = nn.functional.batch_norm(side, None, None, path.bn.weight[rows], path.bn.bias[rows], training=True)
            sides = sides + side.relu()
        fused = nn.functional.conv3d(sides, neurons.fuse.conv.weight[rows])
        expected[chosen == number] = fused[chosen == number]
    got, neuron = layer.trace(x)
    assert torch.equal(neuron, chosen)
    assert len(chosen.unique()) >= 3
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"sts": False}, {"gates": False}, {"fuse_bn": True}, {"layer_residual": True}, {"neck_channels": None}],
)
def test_computing_the_chosen_neuron_alone_is_computing_all(options: dict) -> None:
    sparse, dense = module(**options).eval(), module(dense_eval=True, **options).eval()
    dense.load_state_dict(sparse.state_dict())
    with torch.no_grad():
        (ours, chosen), (theirs, _) = sparse.trace(features()), dense.trace(features())
        assert all(len(layer.unique()) >= 2 for layer in chosen)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        x = features().double()
        torch.testing.assert_close(sparse.double()(x), dense.double()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"sts": False}, {"gates": False}, {"fuse_bn": True}])
def test_export_gathers_each_samples_weights(options: dict) -> None:
    made, x = module(**options).eval(), features()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(made, (x,), dynamic_shapes=({0: batch},)).module()
    for samples in (12, 1, 7):
        torch.testing.assert_close(exported(x[:samples]), made(x[:samples]), rtol=1e-4, atol=1e-5)


def test_evaluation_does_not_depend_on_the_batch() -> None:
    made, x, order = module().eval(), features(), torch.randperm(12)
    whole = made(x)
    torch.testing.assert_close(made(x[order]), whole[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([made(sample[None]) for sample in x]), whole, rtol=1e-4, atol=1e-5)
    assert torch.equal(made(x), whole)


def test_without_synapse_the_output_is_the_mean_of_all_neurons() -> None:
    made, x = module(synapse=False).eval(), features()
    z = made.reduce(x)
    for layer in made.layers:
        every = [layer.neurons.forward_selected(z, torch.full((len(z),), number)) for number in range(5)]
        z = torch.stack(every).mean(0)
    torch.testing.assert_close(made(x), x + made.expand(z), rtol=1e-4, atol=1e-5)
    assert made.trace(x)[1] == []
    assert not any(layer.scoring.requires_grad for layer in made.layers)


@pytest.mark.parametrize("training", [True, False])
def test_the_module_starts_as_the_identity(training: bool) -> None:
    made, x = DSTS(24, SETTINGS).train(training), features()
    assert torch.equal(made(x), x)
    other = DSTS(24, SpecializationSettings(neck_channels=16, zero_init_out=False)).train(training)
    assert not torch.equal(other(x), x)


def test_a_single_frame_runs() -> None:
    x = features(frames=1)
    assert module()(x).shape == module().eval()(x).shape == x.shape


def test_neurons_that_nobody_chose_have_no_gradient() -> None:
    made, x = module(n_layers=1), features(samples=3)
    out, (chosen,) = made.trace(x)
    out.square().sum().backward()
    idle = [number for number in range(5) if number not in chosen.tolist()]
    assert idle
    layer = made.layers[0]
    for path in (layer.neurons.spatial, layer.neurons.temporal, layer.neurons.fuse):
        gradients = path.conv.weight.grad.view(5, -1)
        assert (gradients[idle] == 0).all()
        assert gradients[chosen].abs().amax(1).min() > 0
    assert layer.scoring.grad.abs().amax((1, 2)).min() > 0
    assert layer.neurons.gates.grad.abs().max() > 0


# The networks.


@pytest.mark.parametrize("name", TRUNKS)
def test_clips_do_not_mix_and_time_has_a_direction(name: str) -> None:
    assert_clips_apart_and_directed(ready(name, tiny=True))


@pytest.mark.parametrize(("name", "trunk"), [("dsts_tpn", "tpn"), ("dsts_swin_b", "swin3d_b")])
def test_a_trained_trunk_starts_the_network_and_is_not_disturbed(name: str, trunk: str) -> None:
    options = {"keep_temporal_pool": False} if trunk == "tpn" else {}
    start, clip = ready(trunk, tiny=True, **options), torch.randn(2, 3, 8, 64, 64)
    network = models.build(name, 6, tiny=True).eval()
    adopted = adopt(network, start.state_dict(), "trunk.safetensors")
    assert adopted.left == []
    assert {key.partition(".")[0] for key in adopted.new} == {"dsts"}
    assert torch.equal(logits(network, clip), logits(start, clip))


@pytest.mark.parametrize("name", TRUNKS)
def test_gradients_reach_every_parameter_within_two_steps(name: str) -> None:
    torch.manual_seed(0)
    network = models.build(name, 4, tiny=True, n_neurons=2, n_layers=1, udl=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    reached = set()
    for _ in range(3):
        optimizer.zero_grad()
        network.losses(torch.randn(4, 3, 8, 64, 64), torch.tensor([0, 1, 2, 3]))["total"].backward()
        reached |= {key for key, p in network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert reached == {key for key, _ in network.named_parameters()}


@pytest.mark.parametrize("name", TRUNKS)
def test_losses_tell_how_the_samples_spread(name: str) -> None:
    network = models.build(name, 4, tiny=True)
    losses = network.losses(torch.randn(4, 3, 8, 64, 64), torch.tensor([0, 1, 2, 3]))
    shares = [losses[f"busiest_neuron_{layer}"] for layer in (1, 2, 3)]
    assert all(share in (0.25, 0.5, 0.75, 1.0) for share in shares)
    choices = network.eval().routing(torch.randn(4, 3, 8, 64, 64))
    assert choices.shape == (4, 3)
    assert choices.dtype == torch.int64
    assert choices.max() < 4
    without = models.build(name, 4, tiny=True, synapse=False)
    assert not [key for key in without.losses(torch.randn(2, 3, 8, 64, 64), torch.tensor([0, 1])) if "busiest" in key]
    assert without.eval().routing(torch.randn(2, 3, 8, 64, 64)).shape == (2, 0)


@pytest.mark.parametrize(("udl", "role"), [(True, "upstream"), (False, "ordinary")])
def test_scoring_kernels_and_gates_are_apart_in_the_optimiser(udl: bool, role: str) -> None:
    groups = models.build("dsts_tpn", 4, tiny=True, udl=udl).parameter_groups()
    apart = groups[-1]
    assert len(apart.names) == 6
    assert {name.rpartition(".")[2] for name in apart.names} == {"scoring", "gates"}
    assert (apart.role, apart.weight_decay, apart.lr_multiplier) == (role, False, 1.0)
    assert {group.role for group in groups[:-1]} == {"ordinary"}


def test_the_trunks_statistics_are_what_partial_batch_norm_freezes() -> None:
    network = models.build("dsts_tpn", 4, tiny=True)
    network.freeze_bn()
    assert all(layer.training for layer in network.dsts.modules())
    assert not network.layer4[0].bn1.training


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_neurons": 0}, "n_neurons must be at least 1, not 0"),
        ({"n_layers": 0}, "n_layers must be at least 1, not 0"),
        ({"neck_channels": 1}, "neck_channels must be at least 2, not 1"),
        ({"tau": 0.0}, "tau must be above 0, not 0.0"),
        ({"semhash_mix": 1.5}, "semhash_mix must be from 0 to 1, not 1.5"),
        ({"gate_init_std": -1.0}, "gate_init_std must be at least 0, not -1.0"),
        ({"impulse_norm": "mean"}, "impulse_norm must be one of batch, positions, sum, mean_all, not 'mean'"),
        ({"upstream_rate": 0.0}, "upstream_rate must be above 0, not 0.0"),
        ({"udl": False, "upstream_rate": 2.0}, "upstream_rate=2.0 has no effect: udl=False"),
        ({"synapse": False, "gates": False}, "udl=True has nothing to learn without synapse and gates; set udl=False"),
        ({"udl": False, "udl_scope": "dsts_head"}, "udl_scope=dsts_head has no effect: udl=False simulates no step"),
        ({"temporal_pool": 0}, "temporal_pool must be at least 1, not 0"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict, sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError) as error:
        models.build("dsts_tpn", 4, **options)
    assert sentence in str(error.value)
