"""A training that goes on from a checkpoint, whatever happened to the newest one."""

import time
from dataclasses import replace

import pytest
import torch
from learn_toys import IDENTITY, Table, Toy, written
from torn import DAMAGES

from tasks.learn.checkpoint import newest_whole
from tasks.learn.loop import fit
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick
SETTINGS = TrainSettings(
    epochs=3,
    batch_size=4,
    lr=0.02,
    optimizer="adamw",
    schedule="cosine",
    checkpoint_steps=2,
    log_every=1,
    label_smoothing=0.1,
    mixup=0.8,
    cutmix=1.0,
    ema_decay=0.9,
    class_weights="balanced",
)


def train(folder, settings=SETTINGS, resume=None, report=lambda entry: None):
    """Train a toy and write every checkpoint; return its weights and the reports."""
    network, reports = Toy(), []

    def keep(entry):
        report(entry)
        reports.append(written(entry, folder))

    fit(network, Table().training(), Table(n=9, seed=1), settings, keep, identity=IDENTITY, resume=resume)
    return network.state_dict(), reports


def bits(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("workers/")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_after_a_torn_checkpoint_the_one_before_leads_to_the_same_bits(tmp_path, whole, damage):
    weights, reports = whole
    kept = [entry.checkpoint for entry in reports if entry.checkpoint][:4]  # after steps 2, 4, 6 and 8
    newest = tmp_path / kept[-1].name
    newest.mkdir()
    for file in kept[-1].iterdir():
        (newest / file.name).write_bytes(file.read_bytes())
    damage(newest)
    told = []
    resume = newest_whole([newest, *kept[-2::-1]], told.append)
    assert (resume, len(told)) == (kept[-2], 1)
    torch.manual_seed(12345)  # whatever the new process did before
    again, after = train(tmp_path, resume=resume)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    expected = [bits(entry.metrics) for entry in reports if entry.step > 6]
    assert [bits(entry.metrics) for entry in after] == expected


def test_checkpoints_by_time_come_with_logged_steps_and_change_nothing_else(tmp_path):
    """A clock of 20 ms: every second step is logged, and a slow report makes a checkpoint due at the next of them."""
    plain = replace(SETTINGS, checkpoint_steps=0, checkpoint_minutes=0.0, log_every=2)
    weights, reports = train(tmp_path / "plain", plain)
    assert [entry.step for entry in reports if entry.checkpoint] == [6, 12, 18]

    def slow(entry):
        if entry.step == 8:
            time.sleep(0.05)

    often = replace(plain, checkpoint_minutes=0.02 / 60)
    again, timed = train(tmp_path / "timed", often, report=slow)
    assert 10 in [entry.step for entry in timed if entry.checkpoint]
    assert {entry.step for entry in timed if entry.checkpoint} <= {2, 4, 6, 8, 10, 12, 14, 16, 18}
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert [bits(entry.metrics) for entry in timed] == [bits(entry.metrics) for entry in reports]
    (resume,) = (entry.checkpoint for entry in timed if entry.step == 10)
    resumed, after = train(tmp_path / "resumed", often, resume=resume)
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    assert [bits(entry.metrics) for entry in after] == [bits(entry.metrics) for entry in reports if entry.step > 10]


def test_a_long_time_between_checkpoints_makes_none_within_an_epoch(tmp_path):
    _, reports = train(tmp_path, replace(SETTINGS, checkpoint_steps=0, checkpoint_minutes=60.0))
    assert [entry.step for entry in reports if entry.checkpoint] == [6, 12, 18]
