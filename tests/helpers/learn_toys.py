"""A network and batches small enough to train in milliseconds."""

from dataclasses import replace

import torch
from torch import nn

import models
from models.common.network import Network
from tasks.clips.order import deal, epoch_order
from tasks.learn.batch import Batch, Portion
from tasks.learn.checkpoint import Identity

CLASSES = ["jump", "run", "walk"]
CASES = {name: (name, {}) for name in models.names() if not models.describe(name).components} | {
    "stin_spatial, flow as target": ("stin_spatial", {"ad_target": "flow"}),
    "stam, annealed": ("stam", {"mix": "softmax", "temperature_start": 30.0}),
    "dsts_tpn, not the identity": ("dsts_tpn", {"zero_init_out": False}),
    "dsts_swin_b, not the identity": ("dsts_swin_b", {"zero_init_out": False}),
}
"""Networks and options for the tests of several workers and of resumed training."""
IDENTITY = Identity(
    model="toy", stream="rgb", options={}, classes=CLASSES, recipe={"name": "toy"}, dataset_digest="0" * 64
)


def written(report, folder):
    """Write the checkpoint of a report; return the report with its folder in the place of the snapshot."""
    if report.checkpoint is None:
        return report
    return replace(report, checkpoint=report.checkpoint.write(folder / f"checkpoint-{report.step:08d}"))


class Toy(Network):
    """A convolution, optional batch norm, dropout and a linear layer."""

    def __init__(self, dropout=0.5, norm=True):
        super().__init__(len(CLASSES), stream="rgb", options=None)
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(4 * 36, len(CLASSES))

    def forward(self, clip):
        x = self.norm(self.conv(clip.mean(2))).relu()
        return self.fc(self.dropout(x.flatten(1)))


class Table:
    """Clips in memory: a source of training and validation batches alike."""

    def __init__(self, n=22, batch_size=4, shape=(3, 2, 6, 6), seed=0):
        """Classes differ in brightness."""
        rng = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(n) % len(CLASSES)
        self.clips = 0.3 * torch.randn(n, *shape, generator=rng) + self.labels.view(-1, 1, 1, 1, 1) - 1
        self.batch_size = batch_size

    def sizes(self, epoch):
        return [len(part) for part in self.labels.split(self.batch_size)]

    def steps(self, epoch):
        return len(self.sizes(epoch))

    def training(self, shares=1, smallest=2):
        return Training(self, shares, smallest)

    def lr(self, count):
        return 1.0

    def batch(self, indices, number=0, count=None):
        return Batch(
            clip=self.clips[indices],
            labels=self.labels[indices],
            number=number,
            fraction=len(indices) / (count or len(indices)),
            video_ids=[f"video{int(i):03}" for i in indices],
            views=torch.zeros(len(indices), dtype=torch.int64),
        )

    def batches(self, rank, world):
        batches = torch.arange(len(self.labels)).split(self.batch_size)
        for own in batches[len(batches) * rank // world : len(batches) * (rank + 1) // world]:
            yield self.batch(own)


class Training:
    """Steps of a table, cut into at most so many shares."""

    def __init__(self, table, shares=1, smallest=2):
        self.table, self.steps, self.cut = table, table.steps, {"shares": shares, "smallest": smallest}

    def label_counts(self):
        return self.table.labels.bincount(minlength=len(CLASSES))

    def batches(self, epoch, rank, world, start_step):
        order = epoch_order([0] * len(self.table.labels), 0, epoch)
        for own in deal(order, self.table.sizes(epoch), rank, world, **self.cut)[start_step:]:
            shares = [
                self.table.batch(torch.from_numpy(indices), number, own.count)
                for number, indices in enumerate(own.shares, own.first)
            ]
            yield Portion(shares, own.first, own.of, own.count, self.table.lr(own.count))
