"""How a step is cut into shares, and which worker computes which; standard library only.

A share is the unit of batch norm (ghost batch norm: E. Hoffer et al., "Train longer, generalize better", NeurIPS 2017,
section 4), of noise and of the sums over a step. The cut depends on the training's settings alone, never on the number
of workers, so that this number changes no weights.
"""

from __future__ import annotations

SMALLEST = 2
"""Clips of the smallest share: batch norm needs more than one."""
SMALLEST_HALVED = 4
"""The same for networks with upstream parameters, which halve a share."""


def count_shares(clips: int, shares: int, smallest: int = SMALLEST) -> int:
    """Return the number k of shares of a step of so many clips: at most `shares`, none smaller than `smallest`.

    Clip i of the step is in share i % k. A step of fewer than `smallest` clips is one share.
    """
    return min(shares, max(1, clips // smallest))


def own_shares(shares: int, rank: int, world: int) -> range:
    """Return the numbers of the shares that a worker computes: consecutive ones, perhaps none."""
    return range(shares * rank // world, shares * (rank + 1) // world)
