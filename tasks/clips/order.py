"""Order of an epoch's samples, and their division among workers: pure functions of (seed, epoch)."""

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
        window: shards are shuffled, then samples within this many consecutive shards, so that few files are in use
            at a time.
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
class RankBatch:
    """The samples that one rank reads in one step."""

    indices: np.ndarray
    """Numbers of the samples, int64; a single one in a filler."""
    count: int
    """Number of samples of the step over all ranks."""
    filler: bool
    """Whether the rank has no sample of its own in this step, and repeats another's with weight 0."""


def deal(order: np.ndarray, sizes: Sequence[int], rank: int, world: int) -> list[RankBatch]:
    """Return a rank's steps of an epoch: every rank has as many, and together they hold every sample once.

    `sizes` are the steps' numbers of samples over all ranks: a step has the same samples on any number of workers.
    """
    batches = []
    for whole in np.split(order, np.cumsum(sizes)[:-1]):
        own = whole[rank::world]
        filler = len(own) == 0
        batches.append(RankBatch(indices=whole[:1] if filler else own, count=len(whole), filler=filler))
    return batches
