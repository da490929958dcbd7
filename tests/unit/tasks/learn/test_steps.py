"""Batches of an epoch: docs/papers/mtnet.md, section 7, Wu et al., CVPR 2020."""

import math
from itertools import groupby

import pytest

from tasks.learn.settings import TrainSettings
from tasks.learn.steps import epoch_steps

pytestmark = pytest.mark.quick
ROOT = math.sqrt(0.5)


def settings(multigrid, **changes):
    return TrainSettings(**{"multigrid": multigrid, "epochs": 60, "batch_size": 8, "milestones": (30,), **changes})


@pytest.mark.parametrize("multigrid", ["off", "long", "short", "both"])
@pytest.mark.parametrize("samples", [1, 7, 8, 100, 1000])
def test_an_epoch_takes_every_sample_once(multigrid, samples):
    for epoch in (0, 20, 29, 59):
        steps = epoch_steps(settings(multigrid), epoch, samples)
        assert sum(step.samples for step in steps) == samples
        assert min(step.samples for step in steps) > 0


def test_without_multigrid_batches_are_even():
    assert {(s.frames, s.size, s.lr) for s in epoch_steps(settings("off"), 0, 100)} == {(1.0, 1.0, 1.0)}
    assert [step.samples for step in epoch_steps(settings("off"), 0, 20)] == [8, 8, 4]


def test_the_short_cycle_changes_size_and_batch_from_step_to_step():
    steps = epoch_steps(settings("short"), 0, 8 * 14)
    assert [step.samples for step in steps] == [32, 16, 8, 32, 16, 8]
    assert [step.size for step in steps[:3]] == [0.5, ROOT, 1.0]
    assert {(step.frames, step.lr) for step in steps} == {(1.0, 1.0)}


def test_the_long_cycle_goes_from_coarse_to_fine_in_each_stage_of_the_learning_rate():
    epochs = [epoch_steps(settings("long"), epoch, 640)[0] for epoch in range(60)]
    shapes = [
        (shape, len(list(run))) for shape, run in groupby((e.samples / 8, e.frames, e.size, e.lr) for e in epochs)
    ]
    stage = [((8, 0.25, ROOT, 8), 16), ((4, 0.5, ROOT, 4), 8), ((2, 0.5, 1, 2), 4), ((1, 1, 1, 1), 2)]
    assert shapes == stage + stage  # 16 : 8 : 4 : 2 epochs are as many steps each


def test_other_schedules_have_one_long_cycle():
    epochs = [epoch_steps(settings("long", schedule="cosine"), epoch, 640)[0] for epoch in range(60)]
    runs = [(shape, len(list(run))) for shape, run in groupby(e.samples // 8 for e in epochs)]
    assert runs == [(8, 32), (4, 16), (2, 8), (1, 4)]


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_the_last_epoch_is_of_full_clips(epochs):
    (step, *_) = epoch_steps(settings("long", epochs=epochs, milestones=()), epochs - 1, 640)
    assert step == (8, 1.0, 1.0, 1.0)


def test_both_cycles_multiply():
    steps = epoch_steps(settings("both"), 0, 8 * 8 * 7)
    assert [(step.samples, step.frames, step.lr) for step in steps] == [(256, 0.25, 8), (128, 0.25, 8), (64, 0.25, 8)]
    assert [step.size for step in steps] == pytest.approx([ROOT / 2, 0.5, ROOT])


def test_every_step_costs_about_the_same():
    for epoch in (0, 17, 25, 29):
        costs = [s.samples / 8 * s.frames * s.size**2 for s in epoch_steps(settings("both"), epoch, 8 * 8 * 7)]
        assert costs == pytest.approx([1.0] * len(costs))
