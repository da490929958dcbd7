"""Trainings that end early."""

from dataclasses import replace
from itertools import pairwise

import pytest
from learn_toys import IDENTITY, Table, Toy, written

from tasks.learn.loop import fit
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick
LAZY = TrainSettings(epochs=8, batch_size=11, lr=1e-9, schedule="cosine", patience=2)
"""At a rate next to nothing no validation is better than the first."""


def train(folder, settings, resume=None):
    """The reports, and whether training came to its end."""
    reports = []
    ended = fit(
        Toy(norm=False),  # running statistics move at any rate
        Table(batch_size=11).training(),
        Table(n=9, seed=1),
        settings,
        lambda entry: reports.append(written(entry, folder)),
        identity=IDENTITY,
        resume=resume,
    )
    return reports, ended


def test_it_ends_when_no_validation_has_been_better_for_long_enough(tmp_path):
    for patience, every, last in [(1, 1, 2), (2, 1, 3), (2, 2, 6)]:
        settings = replace(LAZY, patience=patience, validate_every=every)
        reports, ended = train(tmp_path, settings)
        assert (reports[-1].epoch, ended) == (last, True)
        assert reports[-1].checkpoint
    whole, ended = train(tmp_path, replace(LAZY, patience=0))
    assert (whole[-1].epoch, ended) == (8, True)
    rates = [entry.metrics["train/lr"] for entry in reports]  # those of all eight epochs
    assert rates == [entry.metrics["train/lr"] for entry in whole][: len(rates)]


def test_every_better_validation_starts_the_wait_anew(tmp_path):
    """The loss falls from epoch to epoch, while all classes are soon right."""
    settings = replace(LAZY, lr=0.02, patience=1, patience_metric="val/loss", schedule="constant", momentum=0.0)
    reports, _ = train(tmp_path, settings)
    losses = [entry.metrics["val/loss"] for entry in reports]
    assert all(later < before for before, later in pairwise(losses[:-1]))
    assert len(losses) == 8 or losses[-1] >= losses[-2]
    assert len(losses) >= 4


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_resumed_training_has_waited_as_long(tmp_path, epoch):
    reports, _ = train(tmp_path, LAZY)
    (resume,) = (entry.checkpoint for entry in reports if entry.epoch == epoch)
    again, ended = train(tmp_path / "again", LAZY, resume)
    assert [entry.epoch for entry in again] == list(range(epoch + 1, 4))
    assert ended
