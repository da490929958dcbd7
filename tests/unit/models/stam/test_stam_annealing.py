"""The annealed temperature of STAM (docs/papers/stam.md, section 5): set by the step, and part of a checkpoint."""

import pytest
import torch
from network_helpers import logits, ready, sthac, with_random_filters
from torch import Tensor

import models
from models.common.cost import parameters

pytestmark = pytest.mark.quick
MIXED = {"mix": "softmax"}
ANNEALED = {**MIXED, "temperature_start": 30.0, "temperature": 2.0, "anneal_epochs": 4.0}


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.randn(2, 3, 4, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("epoch", "temperature"), [(0, 30.0), (0.5, 26.5), (1, 23.0), (2, 16.0), (3.75, 3.75), (4, 2.0), (9.5, 2.0)]
)
def test_the_temperature_falls_linearly_by_where_training_stands(
    epoch: float, temperature: float, clip: Tensor
) -> None:
    """Every block then scores as with that temperature from the start."""
    annealed = with_random_filters(ready("stam", tiny=True, **ANNEALED))
    constant = with_random_filters(ready("stam", tiny=True, **MIXED, temperature=temperature))
    for before in (0, 7, 1.25, epoch):
        annealed.begin_step(before)
    constant.begin_step(epoch)
    torch.testing.assert_close(logits(annealed, clip), logits(constant, clip))
    assert {module.temperature.item() for module in sthac(annealed)} == {temperature}


def test_it_starts_at_its_first_value(clip: Tensor) -> None:
    annealed = with_random_filters(ready("stam", tiny=True, **ANNEALED))
    constant = with_random_filters(ready("stam", tiny=True, **MIXED, temperature=30.0))
    torch.testing.assert_close(logits(annealed, clip), logits(constant, clip))
    other = with_random_filters(ready("stam", tiny=True, **MIXED, temperature=2.0))
    assert (logits(annealed, clip) - logits(other, clip)).abs().max() > 1e-4


def test_a_state_from_the_middle_scores_as_it_was_trained(clip: Tensor) -> None:
    middle = with_random_filters(ready("stam", tiny=True, **ANNEALED))
    middle.begin_step(3)
    fresh = models.build("stam", 6, tiny=True, **ANNEALED).eval()
    fresh.load_state_dict(middle.state_dict())
    assert torch.equal(logits(fresh, clip), logits(middle, clip))
    assert torch.equal(logits(fresh.deploy(), clip), logits(middle, clip))


def test_only_an_annealed_temperature_is_part_of_the_state() -> None:
    with torch.device("meta"):
        constant, annealed = models.build("stam", 174, **MIXED), models.build("stam", 174, **ANNEALED)
    assert parameters(annealed) == parameters(constant) == 26_815_534
    added = set(annealed.state_dict()) - set(constant.state_dict())
    assert len(added) == 16
    assert all(key.endswith(".sthac.temperature") for key in added)
