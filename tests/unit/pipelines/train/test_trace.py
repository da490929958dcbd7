"""A trace of some steps: recorded, kept in the run's folder, and without effect on the training."""

import gzip
import json

import pytest
import torch
from learn_toys import IDENTITY, Table, Toy

from pipelines.tracking import RunFolder
from pipelines.train.trace import WARM_UP, traced
from tasks.learn import TrainSettings, fit

pytestmark = pytest.mark.quick
SETTINGS = TrainSettings(epochs=2, batch_size=8, micro_batches=1)
STEPS = 6
"""Of the two epochs together."""


def train(steps, folder):
    network = Toy()
    with traced(Table(batch_size=8).training(), steps, folder) as source:
        fit(network, source, None, SETTINGS, lambda report: None, identity=IDENTITY, checkpoints=False)
    return network.state_dict()


@pytest.mark.parametrize(("wanted", "recorded"), [(2, 2), (99, STEPS - WARM_UP)])
def test_so_many_steps_are_recorded_and_trained_as_ever(tmp_path, wanted, recorded):
    folder = RunFolder(tmp_path)
    network = train(wanted, folder)
    events = json.loads(gzip.decompress(folder.read_trace()))["traceEvents"]
    assert sum(event["name"].startswith("Optimizer.step") for event in events) == recorded
    plain = train(0, RunFolder(tmp_path / "plain"))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(network.values(), plain.values(), strict=True))
    assert RunFolder(tmp_path / "plain").read_trace() is None
