"""The real networks on a prepared dataset, through the loop."""

import dataclasses

import pytest
import torch
from learn_toys import CASES, IDENTITY, written
from small_dataset import write_dataset

import models
from models.common.network import CHANNELS
from models.dsts import specialization
from tasks.clips import ClipLoader, ClipSettings, ViewLoader, views
from tasks.data import open_dataset
from tasks.learn.loop import fit
from tasks.learn.settings import TrainSettings


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_double_precision(case, monkeypatch):
    """With few frames and pixels, where strides are ambiguous and torch's operators have been wrong."""
    name, options = CASES[case]
    monkeypatch.setattr(specialization, "gumbel_noise", torch.zeros_like)
    monkeypatch.setattr(specialization, "gate_noise", lambda draws, gates: torch.zeros(draws, *gates.shape))

    def gradients(dtype):
        torch.manual_seed(0)
        network = models.build(name, 3, tiny=True, **options).train()
        for module in network.modules():
            if isinstance(module, (torch.nn.modules.batchnorm._BatchNorm, torch.nn.Dropout)):
                module.eval()
        clip = torch.randn(3, CHANNELS[network.stream], 2, 32, 32).to(dtype)
        network.to(dtype)(clip).log_softmax(1).diagonal().sum().backward()
        return torch.cat([p.grad.flatten().double() for p in network.parameters() if p.grad is not None])

    exact = gradients(torch.float64)
    assert exact.norm() > 0
    assert (gradients(torch.float32) - exact).norm() <= 1e-4 * exact.norm()


class Stop(Exception):
    """The machine is lost."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_dataset(tmp_path_factory.mktemp("networks") / "data"))


@pytest.mark.parametrize(
    ("case", "stream"),
    [(case, s) for case, (name, options) in CASES.items() for s in models.describe(name, options).streams],
)
def test_training_from_shards_resumes_bit_for_bit_within_an_epoch(tmp_path, dataset, case, stream):
    name, options = CASES[case]
    published = models.describe(name, options).training_clip(stream)
    kept = {field: published[field] for field in ("snippet", "target", "mean", "std") if field in published}
    clip = ClipSettings(
        stream=stream,
        segments=4,  # half of a batch of three may be a clip, of which Swin leaves half of the frames
        size=32,
        **kept,
    )
    identity = dataclasses.replace(IDENTITY, model=name, stream=stream, classes=dataset.classes)
    settings = TrainSettings(
        epochs=2,
        batch_size=3,
        lr=0.01,
        clip_norm=20,
        checkpoint_steps=2,
        log_every=1,
        balanced_sampling=stream == "flow",  # one class has 3 samples, the other 5
    )

    def train(scratch, resume=None, stop_at=None):
        torch.manual_seed(0)
        network, reports = models.build(name, 2, stream=stream, tiny=True, **options), []

        def report(entry):
            reports.append(written(entry, scratch))
            if entry.checkpoint and entry.step == stop_at:
                raise Stop

        training = ClipLoader(dataset, "train", clip, settings)
        validation = ViewLoader(dataset, "val", clip, views(1, 1), 4)
        try:
            fit(network, training, validation, settings, report, identity=identity, resume=resume)
        except Stop:
            assert stop_at
        return network.state_dict(), reports

    whole, reports = train(tmp_path / "whole")
    assert [p.step for p in reports if p.checkpoint] == [2, 3, 5, 6]
    _, before = train(tmp_path / "first", stop_at=5)
    resumed, after = train(tmp_path / "second", resume=before[-1].checkpoint)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert after[-1].metrics["val/loss"] == reports[-1].metrics["val/loss"]
    assert len(reports) == len(before) + len(after)
