import pytest
import torch
from learn_toys import IDENTITY, Table, Toy, written

from tasks.learn import TrainSettings, fit

SETTINGS = TrainSettings(epochs=2, batch_size=4, lr=0.02, log_every=100)


def train(folder, wishes, resume=None):
    """Return the weights, the steps of checkpoints, their folders, and whether training came to its end."""
    network, table, reports = Toy(), Table(), []
    finished = fit(
        network,
        table.training(),
        None,
        SETTINGS,
        lambda entry: reports.append(written(entry, folder)),
        identity=IDENTITY,
        resume=resume,
        wish=lambda step: wishes.get(step, "go"),
    )
    return network.state_dict(), [one.step for one in reports], [one.checkpoint for one in reports], finished


def test_a_checkpoint_is_made_when_the_caller_wishes(tmp_path):
    _, steps, _, finished = train(tmp_path, {2: "save", 9: "save"})
    assert steps == [2, 6, 9, 12]
    assert finished


@pytest.mark.parametrize("at", [1, 5, 7])
def test_training_stops_with_a_checkpoint_from_which_it_goes_on_bit_for_bit(tmp_path, at):
    whole, *_ = train(tmp_path / "whole", {})
    _, steps, checkpoints, finished = train(tmp_path / "first", {at: "stop"})
    assert steps[-1] == at
    assert not finished
    resumed, _, _, finished = train(tmp_path / "second", {}, resume=checkpoints[-1])
    assert finished
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
