from itertools import accumulate

import pytest

from tasks.learn.schedule import epochs_at, lr_at
from tasks.learn.settings import TrainSettings
from tasks.learn.steps import epoch_steps

pytestmark = pytest.mark.quick


def rates(settings: TrainSettings, steps: int) -> list[float]:
    """The rate of every step of a training with epochs of this many steps."""
    starts = range(0, steps * settings.epochs + 1, steps)
    return [lr_at(step, starts, settings) for step in range(steps * settings.epochs)]


def test_step_schedule_falls_at_its_milestones():
    found = rates(TrainSettings(lr=0.1, epochs=50, milestones=(30, 40, 45), gamma=0.1), 7)
    expected = {0: 0.1, 29: 0.1, 30: 0.01, 39: 0.01, 40: 0.001, 45: 0.0001, 49: 0.0001}
    assert {epoch: found[7 * epoch] for epoch in expected} == pytest.approx(expected)
    assert found[7 * 30 - 1] == pytest.approx(0.1)


@pytest.mark.parametrize("warm_up", [{"warmup_epochs": 0.5}, {"warmup_steps": 4}], ids=str)
def test_warm_up_rises_in_equal_steps_to_the_full_rate(warm_up):
    settings = TrainSettings(lr=1.0, epochs=4, schedule="constant", **warm_up)
    assert rates(settings, 8)[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_warm_up_that_ends_within_a_step_does_not_overshoot():
    settings = TrainSettings(lr=1.0, epochs=4, schedule="constant", warmup_epochs=0.3)
    assert rates(settings, 4)[:3] == pytest.approx([0.25 / 0.3, 1.0, 1.0])


@pytest.mark.parametrize("warm_up", [{"warmup_epochs": 1}, {"warmup_steps": 10}], ids=str)
def test_cosine_runs_from_the_end_of_warm_up_to_the_end_of_training(warm_up):
    found = rates(TrainSettings(lr=1.0, epochs=3, schedule="cosine", min_lr=0.2, **warm_up), 10)
    assert found[9] == 1.0
    assert found[10] == 1.0
    assert found[15] == pytest.approx(0.2 + 0.8 * 0.8535534)
    assert found[20] == pytest.approx(0.6)
    assert 0.2 < found[29] < 0.21


def test_constant_is_constant():
    assert set(rates(TrainSettings(lr=0.3, schedule="constant"), 5)) == {0.3}


def test_warm_up_in_steps_counts_those_of_multigrid_training():
    """Its first epochs have few steps: 18 of them are several epochs, in which the rate rises step by step."""
    settings = TrainSettings(
        lr=1.0, epochs=30, batch_size=4, multigrid="both", schedule="cosine", warmup_steps=18, min_lr=0.1
    )
    starts = [0, *accumulate(len(epoch_steps(settings, epoch, 400)) for epoch in range(30))]
    found = [lr_at(step, starts, settings) for step in range(starts[-1])]
    assert starts[2] < 18 < starts[4]
    assert found[:18] == pytest.approx([(step + 1) / 18 for step in range(18)])
    assert found[18] == 1.0
    assert found[18:] == sorted(found[18:], reverse=True)
    last = epochs_at(starts[-1] - 1, starts)
    assert 29 < last < 30
    assert 0.1 < found[-1] < 0.11


def test_a_warm_up_longer_than_the_training_never_reaches_the_full_rate():
    settings = TrainSettings(lr=1.0, epochs=2, schedule="cosine", warmup_steps=100)
    assert rates(settings, 5) == pytest.approx([(step + 1) / 100 for step in range(10)])


def test_one_warm_up_has_one_unit():
    with pytest.raises(ValueError, match="warmup_epochs and warmup_steps are one warm-up in two units: choose one"):
        TrainSettings(warmup_epochs=1, warmup_steps=10)
