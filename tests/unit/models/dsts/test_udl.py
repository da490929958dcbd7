"""Upstream-downstream learning: docs/papers/dsts.md, sections 4 and 7."""

from collections.abc import Iterable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from udl_shares import Part, Share

import models
from models.dsts import specialization

pytestmark = pytest.mark.quick
LR = 0.3


def part(seed: int, samples: int = 3, precision: torch.dtype = torch.float32) -> Part:
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(samples, 3, 4, 64, 64, generator=generator).to(precision)
    return Part(clip, torch.arange(samples) % 4)


def add(shares: Iterable[list[Tensor]], like: Sequence[Tensor]) -> list[Tensor]:
    """The sum over one worker's shares."""
    total = [torch.zeros_like(one) for one in like]
    for tensors in shares:
        total = [one + other for one, other in zip(total, tensors, strict=True)]
    return total


def upstream(network: nn.Module) -> dict[str, nn.Parameter]:
    names = [name for group in network.parameter_groups() if group.role == "upstream" for name in group.names]
    return {name: network.get_parameter(name) for name in names}


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specialization, "gumbel_noise", torch.zeros_like)
    monkeypatch.setattr(specialization, "gate_noise", lambda draws, gates: torch.zeros(draws, *gates.shape))


@pytest.fixture
def smooth(monkeypatch: pytest.MonkeyPatch, quiet: None) -> None:
    """A soft routing, whose derivative is the one that trains the hard routing."""
    monkeypatch.setattr(specialization, "gumbel_softmax", lambda impulses, tau: (impulses / tau).softmax(1))


def build(name: str = "dsts_tpn", precision: torch.dtype = torch.float32, **options: object) -> nn.Module:
    torch.manual_seed(0)
    options = {"upstream_rate": None, **options}  # as in the paper
    network = models.build(name, 4, tiny=True, dropout=0.0, **options).to(precision)
    nn.init.normal_(network.get_submodule(network.classifier).weight, std=0.3)
    return network


class Head(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network.forward_head(features)


def meta_loss(
    network: nn.Module, train: Part, held_out: Part, scope: tuple[str, ...], *, graph: bool = True, stop: bool = True
) -> Tensor:
    """Loss on the held-out samples after the simulated step, by plain autograd."""
    head, u = Head(network), upstream(network)
    down = {n: p for n, p in network.named_parameters() if n.startswith(scope) and n not in u}

    def loss(samples: Part, replaced: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            features = network.forward_trunk(samples.clip)
        logits = functional_call(head, {f"network.{name}": value for name, value in replaced.items()}, (features,))
        return nn.functional.cross_entropy(logits, samples.labels)

    gradients = torch.autograd.grad(loss(train, {}), list(down.values()), create_graph=graph)
    stepped = {name: value - LR * g for (name, value), g in zip(down.items(), gradients, strict=True)}
    stopped = {name: value.detach() for name, value in u.items()} if stop else {}
    return loss(held_out, stepped | stopped)


@pytest.mark.parametrize("name", ["dsts_tpn", "dsts_swin_b"])
@pytest.mark.parametrize(("scope", "prefixes"), [("dsts", ("dsts.",)), ("dsts_head", ("dsts.", "fc.", "head."))])
def test_the_gradients_are_those_of_the_held_out_loss(
    quiet: None, name: str, scope: str, prefixes: tuple[str, ...]
) -> None:
    network = build(name, zero_init_out=False, udl_scope=scope).double()
    train, held_out = part(1, precision=torch.float64), part(2, precision=torch.float64)
    u = upstream(network)
    network.gradients([Share(train, held_out)], add, lr=LR)
    expected = torch.autograd.grad(meta_loss(network, train, held_out, prefixes), list(u.values()))
    for (key, parameter), gradient in zip(u.items(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-7, atol=1e-12, msg=key)
    leaky = torch.autograd.grad(meta_loss(network, train, held_out, prefixes, stop=False), list(u.values()))
    assert any((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in zip(leaky, expected, strict=True))
    with pytest.raises(RuntimeError):
        torch.autograd.grad(meta_loss(network, train, held_out, prefixes, graph=False), list(u.values()))


def test_the_gradients_are_the_differences_of_the_held_out_loss(smooth: None) -> None:
    """Along random directions, central differences in float64; `semhash_mix=1` has soft gates."""
    network = build(zero_init_out=False, semhash_mix=1.0, gate_init_std=0.5).double()
    train, held_out = part(1, precision=torch.float64), part(2, precision=torch.float64)
    network.gradients([Share(train, held_out)], add, lr=LR)

    def held_out_loss() -> float:
        """The routing of the held-out pass is fixed: u acts only through the simulated step."""
        return meta_loss_at(network, train, held_out, frozen).item()

    u = upstream(network)
    frozen = {name: value.detach().clone() for name, value in u.items()}
    for seed, (name, parameter) in enumerate(u.items()):
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)).double()
        values, step = [], 1e-7  # few ReLUs turn on or off within
        for side in (step, -step):
            with torch.no_grad():
                parameter.copy_(frozen[name] + side * direction)
            values.append(held_out_loss())
        with torch.no_grad():
            parameter.copy_(frozen[name])
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx((parameter.grad * direction).sum().item(), rel=1e-4, abs=1e-9), name


def meta_loss_at(network: nn.Module, train: Part, held_out: Part, frozen: dict[str, Tensor]) -> Tensor:
    """`meta_loss` whose held-out pass is routed by `frozen`."""
    head, u = Head(network), upstream(network)
    down = {n: p for n, p in network.named_parameters() if n.startswith("dsts.") and n not in u}
    features = [network.forward_trunk(samples.clip).detach() for samples in (train, held_out)]
    loss = nn.functional.cross_entropy(head(features[0]), train.labels)
    gradients = torch.autograd.grad(loss, list(down.values()))
    stepped = {name: value - LR * g for (name, value), g in zip(down.items(), gradients, strict=True)}
    replaced = {f"network.{name}": value for name, value in (stepped | frozen).items()}
    return nn.functional.cross_entropy(functional_call(head, replaced, (features[1],)), held_out.labels)


@pytest.mark.parametrize("name", ["dsts_tpn", "dsts_swin_b"])
def test_every_scoring_kernel_and_gate_learns_from_the_start(name: str) -> None:
    network = build(name)
    network.gradients([Share(part(1, samples=8), part(2, samples=8))], add, lr=LR)
    for key, parameter in upstream(network).items():
        each = parameter.grad.flatten(1).abs().amax(1)
        assert (each > 0).sum() >= 2, key
        assert parameter.grad.isfinite().all()


def test_nothing_else_changes() -> None:
    network = build()
    network.freeze_bn()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    network.gradients([Share(part(1), part(2))], add, lr=LR)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {name for name, p in network.named_parameters() if p.grad is not None} == set(upstream(network))
    assert [module.training for module in network.modules()] == modes
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert all(layer.track_running_stats for layer in layers)


def test_shares_add_up(quiet: None) -> None:
    """With fixed statistics, the shares of a step add up to the whole one."""
    network, whole, held_out = build(zero_init_out=False), part(1, samples=4), part(2, samples=4)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()

    def gradients(shares: list[Share]) -> list[Tensor]:
        network.gradients(shares, add, lr=LR)
        return [parameter.grad for parameter in upstream(network).values()]

    expected = gradients([Share(whole, held_out)])
    cut = [
        Share(*(Part(p.clip[at], p.labels[at], len(p.labels[at]) / 4) for p in (whole, held_out)))
        for at in (slice(3), slice(3, 4))
    ]
    for ours, theirs in zip(gradients(cut), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-8)


def test_a_share_is_computed_again_with_its_noise() -> None:
    """Dropout in the trunk, Gumbel and gate noise: the gradient is that of a share whose graph was kept."""
    network = build(zero_init_out=False)
    heads: list[Tensor] = []
    forward_head = network.forward_head

    def watched(features: Tensor) -> Tensor:
        logits = forward_head(features)
        heads.append(logits.detach())
        return logits

    network.forward_head = watched
    shares = [Share(part(1), part(2)), Share(part(3), part(4))]
    network.gradients(shares, add, lr=LR)
    assert [share.drawn for share in shares] == [["simulate", "held out"]] * 2
    assert len(heads) == 6
    assert torch.equal(heads[0], heads[4])
    assert torch.equal(heads[1], heads[5])
    assert not torch.equal(heads[0], heads[2])


def test_a_worker_without_shares_only_adds() -> None:
    """It takes part in three sums."""
    network = build()
    asked: list[int] = []

    def counted(shares: Iterable[list[Tensor]], like: Sequence[Tensor]) -> list[Tensor]:
        asked.append(len(list(shares)))
        return [torch.ones_like(one) for one in like]

    network.gradients([], counted, lr=LR)
    assert asked == [0, 0, 0]
    assert all((parameter.grad == 1).all() for parameter in upstream(network).values())


def test_half_precision_is_left_to_the_trunk() -> None:
    network = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network.gradients([Share(part(1), part(2))], add, lr=LR)
    for parameter in upstream(network).values():
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
