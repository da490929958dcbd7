"""Order of an epoch's samples, and their division among workers: pure functions of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.learn.shares import count_shares, own_shares
from tasks.seeds import generator


def epoch_order(shards: Sequence[int] | np.ndarray, seed: int, epoch: int, window: int = 8) -> np.ndarray:
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


def balanced_order(labels: np.ndarray, shards: np.ndarray, seed: int, epoch: int, window: int = 8) -> np.ndarray:
    """Return the order of an epoch of n samples in which classes differ by one sample at most, int64 [n].

    Copy c of sample i is c * n + i. Of a class that is too large each epoch draws others, of one that is too small it
    takes all before it takes any again.

    Args:
        labels: the class of each sample, [n].
        shards: the shard of each, [n].
        seed: seed of the whole training.
        epoch: counted from 0.
        window: as of `epoch_order`.
    """
    rng, n = generator(seed, epoch, "balance"), len(labels)
    by_class = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[by_class], return_index=True)
    quotas = np.full(len(present), n // len(present))
    quotas[rng.permutation(len(present))[: n % len(present)]] += 1
    taken = []
    for members, quota in zip(np.split(by_class, first[1:]), quotas, strict=True):
        copies, rest = divmod(int(quota), len(members))
        taken += [members + copy * n for copy in range(copies)]
        taken.append(rng.permutation(members)[:rest] + copies * n)
    codes = np.concatenate(taken)
    return codes[epoch_order(np.asarray(shards)[codes % n], seed, epoch, window)]


@dataclass(frozen=True)
class OwnShares:
    """The samples that one rank reads in one step."""

    shares: list[np.ndarray]
    """Numbers of the samples of each of its shares, int64; none where the step has fewer shares than ranks."""
    first: int
    """Number of the first of these shares."""
    of: int
    """Shares of the step over all ranks."""
    count: int
    """Samples of the step over all ranks."""


def deal(
    order: np.ndarray, sizes: Sequence[int], rank: int, world: int, *, shares: int, smallest: int
) -> list[OwnShares]:
    """Return a rank's shares of each step of an epoch.

    Args:
        order: numbers of the samples, [n].
        sizes: numbers of samples of the steps over all ranks.
        rank: this one.
        world: number of ranks, which decides who reads a share and not what is in it.
        shares: most shares of a step.
        smallest: samples that a share has at least.
    """
    steps = []
    for whole in np.split(order, np.cumsum(sizes)[:-1]):
        of = count_shares(len(whole), shares, smallest)
        own = own_shares(of, rank, world)
        steps.append(OwnShares([whole[number::of] for number in own], own.start, of, len(whole)))
    return steps
