"""The real networks on a prepared dataset, through the loop."""

import dataclasses

import pytest
import torch
from learn_toys import CASES, IDENTITY
from small_dataset import write_dataset

import models
from tasks.data import ClipSettings, open_dataset
from tasks.data.augment import views
from tasks.data.source import ClipSource, ViewSource
from tasks.learn.loop import fit
from tasks.learn.settings import TrainSettings


class Stop(Exception):
    """The machine goes away."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_dataset(tmp_path_factory.mktemp("networks") / "data"))


@pytest.mark.parametrize(
    ("case", "stream"),
    [(case, s) for case, (name, options) in CASES.items() for s in models.describe(name, options).streams],
)
def test_training_from_shards_resumes_bit_for_bit_within_an_epoch(tmp_path, dataset, case, stream):
    name, options = CASES[case]
    about = models.describe(name, options)
    clip = ClipSettings(
        stream=stream,
        segments=4,  # half of a batch of three may be a clip, of which Swin leaves half of the frames
        snippet=about.snippet[stream],
        target=about.target,
        size=32,
        mean=about.mean[stream],
        std=about.std[stream],
    )
    identity = dataclasses.replace(IDENTITY, model=name, stream=stream, classes=dataset.classes)
    settings = TrainSettings(epochs=2, batch_size=3, lr=0.01, clip_norm=20, checkpoint_steps=2, log_every=1)

    def train(scratch, resume=None, stop_at=None):
        torch.manual_seed(0)
        network, reports = models.build(name, 2, stream=stream, tiny=True, **options), []

        def report(progress):
            reports.append(progress)
            if progress.checkpoint and progress.step == stop_at:
                raise Stop

        training = ClipSource(dataset, "train", clip, settings)
        validation = ViewSource(dataset, "val", clip, views(1, 1), 4)
        try:
            fit(network, training, validation, settings, report, identity=identity, resume=resume, scratch=scratch)
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
