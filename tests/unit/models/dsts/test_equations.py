"""DSTS's equations, written out anew in float64 neuron by neuron: docs/papers/dsts.md, sections 3 and 4."""

import pytest
import torch
from torch import Tensor, nn
from udl_shares import Part, Share

import models

pytestmark = pytest.mark.quick
NEURONS, LAYERS, WIDTH, LR = 3, 2, 8, 0.3
Values = dict[str, Tensor]


def part(seed: int) -> Part:
    generator = torch.Generator().manual_seed(seed)
    return Part(torch.randn(5, 3, 4, 64, 64, generator=generator).double(), torch.tensor([0, 1, 2, 3, 1]))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    made = models.build(
        *("dsts_tpn", 4),
        tiny=True,
        dropout=0.0,
        zero_init_out=False,
        upstream_rate=None,
        n_neurons=NEURONS,
        n_layers=LAYERS,
        neck_channels=WIDTH,
    )
    for module in made.dsts.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    for layer in made.dsts.layers:
        nn.init.normal_(layer.neurons.gates, std=0.5)
    nn.init.normal_(made.fc.weight, std=0.3)
    return made.double()


def normalised(x: Tensor, values: Values, name: str, training: bool, rows: slice = slice(None)) -> Tensor:
    """Batch norm, with the rows of it that are a neuron's."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    if training:
        mean = x.mean(axes, keepdim=True)
        variance = (x - mean).square().mean(axes, keepdim=True)
    else:
        shape = [1, -1] + [1] * (x.dim() - 2)
        mean, variance = (values[f"{name}.running_{kind}"][rows].view(shape) for kind in ("mean", "var"))
    x = (x - mean) / (variance + 1e-5).sqrt()
    if f"{name}.weight" not in values:
        return x
    weight, bias = (values[f"{name}.{kind}"][rows, None, None, None] for kind in ("weight", "bias"))
    return weight * x + bias


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    return nn.functional.conv3d(x, weight, padding=[side // 2 for side in weight.shape[2:]])


def layer(values: Values, name: str, x: Tensor, training: bool) -> Tensor:
    samples = len(x)
    scored = normalised(x.mean((2, 3, 4)), values, f"{name}.norm", training)
    impulses = torch.einsum("bc,nkc->bn", scored, values[f"{name}.scoring"]) / (2 * WIDTH**0.5)
    gates = values[f"{name}.neurons.gates"].expand(samples, -1, -1)
    if training:
        noise = -torch.empty(samples, NEURONS, dtype=torch.float64).exponential_().log()
        soft = (impulses + noise).softmax(1)
        chosen = nn.functional.one_hot(soft.argmax(1), NEURONS) + (soft - soft.detach())
        noisy = gates + torch.randn(samples, NEURONS, WIDTH)
        soft = (1.2 * noisy.sigmoid() - 0.1).clamp(0, 1)
        temporal = (noisy > 0).double() + (soft - soft.detach())
    else:
        chosen = nn.functional.one_hot(impulses.argmax(1), NEURONS).double()
        temporal = (gates > 0).double()
    out = torch.zeros_like(x)
    for neuron in range(NEURONS):
        rows = slice(WIDTH * neuron, WIDTH * (neuron + 1))
        b = temporal[:, neuron, :, None, None, None]
        both = torch.zeros_like(x)
        for kind, given in (("spatial", (1 - b) * x), ("temporal", b * x)):
            place = f"{name}.neurons.{kind}"
            y = convolved(given, values[f"{place}.conv.weight"][rows])
            both = both + normalised(y, values, f"{place}.bn", training, rows).relu()
        fused = convolved(both, values[f"{name}.neurons.fuse.conv.weight"][rows])
        out = out + chosen[:, neuron, None, None, None, None] * fused
    return out


def logits(values: Values, x: Tensor, training: bool = True) -> Tensor:
    z = normalised(convolved(x, values["dsts.reduce.0.weight"]), values, "dsts.reduce.1", training)
    for number in range(LAYERS):
        z = layer(values, f"dsts.layers.{number}", z, training)
    out = x + normalised(convolved(z, values["dsts.expand.0.weight"]), values, "dsts.expand.1", training)
    return out.mean((2, 3, 4)) @ values["fc.weight"].T + values["fc.bias"]


def values_of(network: nn.Module) -> Values:
    """The tensors behind the trunk; parameters are leaves of their own."""
    own = {name: value.detach().clone() for name, value in network.state_dict().items() if name[:3] in ("dst", "fc.")}
    for name, _ in network.named_parameters():
        if name in own:
            own[name].requires_grad_()
    return own


def features(network: nn.Module, samples: Part) -> Tensor:
    with torch.no_grad():
        return network.forward_trunk(samples.clip).contiguous()


def loss(values: Values, x: Tensor, labels: Tensor, name: str) -> Tensor:
    torch.manual_seed(len(name))
    return nn.functional.cross_entropy(logits(values, x), labels)


@pytest.mark.parametrize("training", [True, False])
def test_the_forward_pass_is_what_the_page_says(network: nn.Module, training: bool) -> None:
    network.train(training)
    x, values = features(network, part(1)), values_of(network)
    torch.manual_seed(3)
    expected = logits(values, x, training)
    torch.manual_seed(3)
    torch.testing.assert_close(network.forward_head(x), expected, rtol=1e-10, atol=1e-12)


def test_an_ordinary_step_has_the_gradients_of_the_page(network: nn.Module) -> None:
    samples, values = part(1), values_of(network)
    x = features(network, samples)
    loss(values, x, samples.labels, "ordinary").backward()
    torch.manual_seed(len("ordinary"))
    nn.functional.cross_entropy(network.forward_head(x), samples.labels).backward()
    for name, value in values.items():
        if value.requires_grad:
            got = network.get_parameter(name).grad
            torch.testing.assert_close(got, value.grad, rtol=1e-9, atol=1e-13, msg=name)


@pytest.mark.parametrize("rate", [None, 2.0])
def test_the_upstream_gradients_are_those_of_the_page(network: nn.Module, rate: float | None) -> None:
    """Equations (6) and (7), by autograd through a gradient."""
    train, held_out = part(1), part(2)
    values = values_of(network)
    u = {name: value for name, value in values.items() if name.endswith(("scoring", "gates"))}
    d = {n: v for n, v in values.items() if v.requires_grad and n not in u and n.startswith("dsts.")}
    first = loss(values, features(network, train), train.labels, "simulate")
    gradients = torch.autograd.grad(first, list(d.values()), create_graph=True)
    ordinary = torch.autograd.grad(first, list(u.values()), retain_graph=True)
    stepped = {name: value - LR * g for (name, value), g in zip(d.items(), gradients, strict=True)}
    stopped = {name: value.detach() for name, value in u.items()}
    second = loss(values | stepped | stopped, features(network, held_out), held_out.labels, "held out")
    expected = torch.autograd.grad(second, list(u.values()))

    network.options = type(network.options)(**{**vars(network.options), "upstream_rate": rate})
    figures = network.gradients([Share(train, held_out)], add, lr=LR)
    for name, gradient, other in zip(u, expected, ordinary, strict=True):
        wanted = gradient if rate is None else gradient * rate / LR
        torch.testing.assert_close(network.get_parameter(name).grad, wanted, rtol=1e-7, atol=1e-14, msg=name)
        *_, number, kind = name.replace(".neurons", "").split(".")
        of = f"_{int(number) + 1}"
        assert figures[f"{kind}_ordinary_norm{of}"].item() == pytest.approx(other.norm().item(), rel=1e-9)
        assert figures[f"{kind}_upstream_norm{of}"].item() == pytest.approx(wanted.norm().item(), rel=1e-7)
        cosine = (other * gradient).sum() / (other.norm() * gradient.norm())
        assert figures[f"{kind}_cosine{of}"].item() == pytest.approx(cosine.item(), rel=1e-6)


def add(shares, like):
    """The sum over a single share."""
    (total,) = shares
    return total
