"""Averaged weights: docs/papers/augmentation.md, section 8."""

from dataclasses import replace

import pytest
import torch
from learn_toys import IDENTITY, Table, Toy, written
from safetensors.torch import load_file

from tasks.errors import UserError
from tasks.learn.agreement import weights_sha256
from tasks.learn.average import WeightAverage
from tasks.learn.checkpoint import load_weights
from tasks.learn.loop import fit
from tasks.learn.score import measure, score
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick
PLAIN = TrainSettings(epochs=1, batch_size=4, lr=0.02, checkpoint_steps=1, log_every=1)
AVERAGED = replace(PLAIN, ema_decay=0.8)


def train(folder, settings, network=None, resume=None):
    network, reports = network or Toy(), []
    fit(
        network,
        Table().training(),
        Table(n=9, seed=1),
        settings,
        lambda entry: reports.append(written(entry, folder)),
        identity=IDENTITY,
        resume=resume,
    )
    return network.state_dict(), reports


def test_a_checkpoint_holds_the_average_of_all_steps_and_validation_scores_it(tmp_path):
    weights, reports = train(tmp_path / "with", AVERAGED)
    without, plain = train(tmp_path / "without", PLAIN)
    assert all(torch.equal(weights[name], without[name]) for name in weights)
    expected = Toy().state_dict()
    for entry, other in zip(reports, plain, strict=True):
        trained = load_file(entry.checkpoint / "training.safetensors")
        beside = load_file(other.checkpoint / "weights.safetensors")
        assert all(torch.equal(trained[name], beside[name]) for name in trained)
        for name, value in trained.items():
            counts = name == "norm.num_batches_tracked"
            expected[name] = value if counts else 0.8 * expected[name] + 0.2 * value
        averaged = load_file(entry.checkpoint / "weights.safetensors")
        assert averaged.keys() == expected.keys()
        for name, value in averaged.items():
            torch.testing.assert_close(value, expected[name])
    network = Toy()
    load_weights(reports[-1].checkpoint, network)
    metrics = measure(score(network, Table(n=9, seed=1).batches(0, 1)))
    assert reports[-1].metrics["val/loss"] == metrics.loss != plain[-1].metrics["val/loss"]


def test_a_buffer_that_a_network_sets_is_its_own(tmp_path):
    class Annealed(Toy):
        def __init__(self):
            super().__init__()
            self.register_buffer("temperature", torch.tensor(30.0))

        def begin_step(self, epoch):
            self.temperature.fill_(30 - 10 * epoch)

    _, reports = train(tmp_path, AVERAGED, Annealed())
    kept = load_file(reports[-1].checkpoint / "weights.safetensors")
    assert kept["temperature"] == pytest.approx(30 - 10 * 5 / 6)


def test_workers_compare_averages_too():
    network = Toy()
    average = WeightAverage(network, 0.9)
    before = weights_sha256(network, average)
    assert before == weights_sha256(network, WeightAverage(network, 0.9))
    average.values["fc.bias"][0] += 1
    assert weights_sha256(network, average) != before


@pytest.mark.parametrize(("first", "then", "made"), [(PLAIN, AVERAGED, "without"), (AVERAGED, PLAIN, "with")])
def test_a_checkpoint_is_gone_on_from_with_its_own_setting(tmp_path, first, then, made):
    _, reports = train(tmp_path, first)
    with pytest.raises(UserError, match=rf"was made {made} train\.ema_decay: train under a new name"):
        train(tmp_path, then, resume=reports[0].checkpoint)


def test_a_decay_of_one_would_never_move():
    with pytest.raises(ValueError, match=r"ema_decay must be at least 0 and below 1, not 1\.0"):
        TrainSettings(ema_decay=1.0)
