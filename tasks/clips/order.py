"""Which sample is read when, and by which worker: pure functions of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.seeds import generator


def epoch_order(shards: Sequence[int], seed: int, epoch: int, window: int = 8) -> np.ndarray:
    """Return the order of an epoch, int64 [n]: a permutation of the samples.

    Args:
        shards: the shard of each sample.
        seed: seed of the whole training.
        epoch: counted from 0.
        window: the shards are shuffled, and samples within so many consecutive shards: reading stays in few files at
            a time.
    """
    rng = generator(seed, epoch, "order")
    of_sample = np.asarray(shards)
    by_shard = np.argsort(of_sample, kind="stable")
    _, first = np.unique(of_sample[by_shard], return_index=True)
    runs = np.split(by_shard, first[1:])
    shuffled = [runs[i] for i in rng.permutation(len(runs))]
    windows = [np.concatenate(shuffled[i : i + window]) for i in range(0, len(shuffled), window)]
    return np.concatenate([rng.permutation(samples) for samples in windows])


@dataclass(frozen=True)
class Share:
    """What one rank reads in one step."""

    indices: np.ndarray
    """Samples, int64; one only in a filler."""
    count: int
    """Samples of the step over all ranks."""
    filler: bool
    """The rank has no sample of its own in this step: it repeats another's, with weight 0."""


def deal(order: np.ndarray, sizes: Sequence[int], rank: int, world: int) -> list[Share]:
    """Return a rank's steps of an epoch: every rank has equally many, and together they hold every sample once.

    `sizes` are the steps' samples over all ranks, so the steps hold the same samples on any number of workers.
    """
    shares = []
    for batch in np.split(order, np.cumsum(sizes)[:-1]):
        own = batch[rank::world]
        filler = len(own) == 0
        shares.append(Share(indices=batch[:1] if filler else own, count=len(batch), filler=filler))
    return shares
