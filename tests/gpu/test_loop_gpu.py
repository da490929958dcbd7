"""The loop under plain torch on a GPU, with every network and mixed precision.

Needs torch, numpy and pytest alone, but for the resumed training: its checkpoint needs safetensors.
"""

import importlib.util

import pytest
import torch
from learn_toys import written

import models
from tasks.learn.batch import Batch, Portion
from tasks.learn.checkpoint import Identity
from tasks.learn.loop import fit
from tasks.learn.score import measure, score
from tasks.learn.settings import TrainSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CLASSES = ["dark", "bright"]
STEPS, BATCH, FRAMES, SIZE = 6, 8, 8, 64


class Brightness:
    """Clips of noise around one of two brightnesses."""

    def __init__(self, channels):
        rng = torch.Generator().manual_seed(0)
        self.labels = torch.arange(STEPS * BATCH) % 2
        noise = torch.randn(STEPS * BATCH, channels, FRAMES, SIZE, SIZE, generator=rng)
        self.clips = 0.3 * noise + (2.0 * self.labels - 1).view(-1, 1, 1, 1, 1)

    def batches(self, rank, world):
        for i in range(STEPS):
            own = slice(i * BATCH, (i + 1) * BATCH)
            ids = [f"{n}" for n in range(STEPS * BATCH)[own]]
            yield Batch(self.clips[own], self.labels[own], ids, torch.zeros(BATCH, dtype=torch.int64))


class Steps:
    """Each batch as a step of one share."""

    def __init__(self, source):
        self.source = source

    def steps(self, epoch):
        return STEPS

    def batches(self, epoch, rank, world, start_step):
        for batch in list(self.source.batches(rank, world))[start_step:]:
            yield Portion([batch], 0, 1, BATCH)


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("name", "stream"),
    [
        (name, stream)
        for name in models.names()
        if not models.describe(name).components
        for stream in models.describe(name).streams
    ],
)
def test_every_network_learns(name, stream, amp):
    torch.manual_seed(0)
    network = models.build(name, len(CLASSES), stream=stream, tiny=True)
    source, reports = Brightness(10 if stream == "flow" else 3), []
    settings = TrainSettings(
        epochs=4, batch_size=BATCH, lr=0.01, schedule="constant", clip_norm=20, amp=amp, log_every=STEPS
    )
    identity = Identity(
        model=name, stream=stream, options={"tiny": True}, classes=CLASSES, recipe={}, dataset_digest=""
    )
    fit(network, Steps(source), source, settings, reports.append, identity=identity, device="cuda", checkpoints=False)
    assert reports[-1].metrics["train/loss"] < reports[0].metrics["train/loss"]
    assert reports[-1].metrics["val/top1_percent"] >= 90
    scores = score(network, source.batches(0, 1), "cuda", amp=amp)
    assert measure(scores).videos == STEPS * BATCH


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="needs safetensors")
def test_a_resumed_training_goes_on_with_its_loss_scale(tmp_path):
    settings = TrainSettings(epochs=2, batch_size=BATCH, lr=0.01, schedule="constant", amp="fp16", log_every=1)
    identity = Identity(model="stm", stream="rgb", options={}, classes=CLASSES, recipe={}, dataset_digest="")
    runs = []
    for resume in (None, tmp_path / f"checkpoint-{STEPS:08d}"):
        torch.manual_seed(0)
        network, reports = models.build("stm", 2, tiny=True).cuda(), []
        fit(
            network,
            Steps(Brightness(3)),
            None,
            settings,
            lambda entry, reports=reports: reports.append(written(entry, tmp_path)),
            identity=identity,
            device="cuda",
            resume=resume,
        )
        runs.append([p.metrics["train/loss"] for p in reports][-STEPS:])
    assert runs[1] == pytest.approx(runs[0], rel=1e-3)  # CUDA's sums are not bit for bit the same from run to run
