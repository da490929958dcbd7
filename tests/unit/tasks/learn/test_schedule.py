import pytest

from tasks.learn.schedule import lr_at
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick


def test_step_schedule_falls_at_its_milestones():
    settings = TrainSettings(lr=0.1, epochs=50, milestones=(30, 40, 45), gamma=0.1)
    rates = {epoch: lr_at(epoch, 1 / 7, settings) for epoch in (0, 29, 30, 39, 40, 45, 49)}
    expected = {0: 0.1, 29: 0.1, 30: 0.01, 39: 0.01, 40: 0.001, 45: 0.0001, 49: 0.0001}
    assert rates == pytest.approx(expected)
    assert lr_at(30 - 1 / 7, 1 / 7, settings) == pytest.approx(0.1)


def test_warm_up_rises_in_equal_steps_to_the_full_rate():
    settings = TrainSettings(lr=1.0, epochs=4, schedule="constant", warmup_epochs=0.5)
    assert [lr_at(step / 8, 1 / 8, settings) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_warm_up_that_ends_within_a_step_does_not_overshoot():
    settings = TrainSettings(lr=1.0, epochs=4, schedule="constant", warmup_epochs=0.3)
    assert [lr_at(step / 4, 1 / 4, settings) for step in range(3)] == pytest.approx([0.25 / 0.3, 1.0, 1.0])


def test_cosine_runs_from_the_end_of_warm_up_to_the_end_of_training():
    settings = TrainSettings(lr=1.0, epochs=3, schedule="cosine", warmup_epochs=1, min_lr=0.2)
    assert lr_at(0.9, 0.1, settings) == 1.0
    assert lr_at(1, 0.1, settings) == 1.0
    assert lr_at(1.5, 0.1, settings) == pytest.approx(0.2 + 0.8 * 0.8535534)
    assert lr_at(2, 0.1, settings) == pytest.approx(0.6)
    assert lr_at(3, 0.1, settings) == pytest.approx(0.2)


def test_constant_is_constant():
    settings = TrainSettings(lr=0.3, schedule="constant")
    assert {lr_at(step / 5, 0.2, settings) for step in range(250)} == {0.3}
