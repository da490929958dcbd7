"""The steps of an epoch: how many clips of which size each takes; standard library only.

Multigrid training: C. Wu et al., "A Multigrid Method for Efficiently Training Video Models", CVPR 2020. Coarser clips
come in larger batches at the same cost, so that an epoch takes fewer steps. The long cycle changes the clips between
epochs, from coarse to fine once per stage of the learning rate; the short cycle changes them between steps.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from tasks.learn.settings import TrainSettings
from tasks.learn.shares import SMALLEST


class Shape(NamedTuple):
    """Factors on the batch size, frames and size of the settings."""

    batch: int = 1
    frames: float = 1.0
    size: float = 1.0


class Step(NamedTuple):
    """One optimisation step."""

    samples: int
    """Samples of all workers together."""
    frames: float = 1.0
    """Factor on a clip's frames or segments."""
    size: float = 1.0
    """Factor on a clip's height and width."""
    lr: float = 1.0
    """Factor on the learning rate."""


FULL = Shape()
LONG = (Shape(8, 1 / 4, math.sqrt(1 / 2)), Shape(4, 1 / 2, math.sqrt(1 / 2)), Shape(2, 1 / 2), FULL)
SHORT = (Shape(4, size=1 / 2), Shape(2, size=math.sqrt(1 / 2)), FULL)


def epoch_steps(settings: TrainSettings, epoch: int, samples: int, smallest: int = SMALLEST) -> list[Step]:
    """Return the steps of an epoch, counted from 0: together they take every sample once.

    A last step of fewer samples than the `smallest` share joins the one before. The learning rate grows with the
    batches of the long cycle, not with those of the short one.
    """
    base = long_shape(settings, epoch) if settings.multigrid in ("long", "both") else FULL
    cycle = SHORT if settings.multigrid in ("short", "both") else (FULL,)
    return list(_steps(settings.batch_size, base, cycle, samples, smallest))


@lru_cache(maxsize=len(LONG))
def _steps(batch_size: int, base: Shape, cycle: tuple[Shape, ...], samples: int, smallest: int) -> tuple[Step, ...]:
    """Return the steps of an epoch of this shape; cached, as a training asks for all its epochs before it starts."""
    steps: list[Step] = []
    left = samples
    while left:
        shape = cycle[len(steps) % len(cycle)]
        taken = min(left, batch_size * base.batch * shape.batch)
        if left - taken < smallest:
            taken = left
        steps.append(Step(taken, base.frames, base.size * shape.size, lr=float(base.batch)))
        left -= taken
    return tuple(steps)


def long_shape(settings: TrainSettings, epoch: int) -> Shape:
    """Return the long cycle's shape in an epoch.

    Each stage of the step schedule (any other schedule is one stage) has one cycle, whose shapes get equal numbers of
    steps, in whole epochs. The last epoch always has full clips.
    """
    if epoch == settings.epochs - 1:
        return FULL
    drops = settings.milestones if settings.schedule == "step" else ()
    ends = [0.0, *sorted(drop for drop in drops if 0 < drop < settings.epochs), float(settings.epochs)]
    middle = epoch + 0.5
    stage = max(number for number, start in enumerate(ends[:-1]) if start <= middle)
    done = (middle - ends[stage]) / (ends[stage + 1] - ends[stage])
    whole, passed = sum(shape.batch for shape in LONG), 0
    for shape in LONG:
        passed += shape.batch
        if done < passed / whole:
            return shape
    return FULL


def smallest_size(settings: TrainSettings) -> float:
    """Return the smallest factor on a clip's height and width in a training."""
    bases = {FULL}
    if settings.multigrid in ("long", "both"):
        bases = {long_shape(settings, epoch) for epoch in range(settings.epochs)}
    cycle = SHORT if settings.multigrid in ("short", "both") else (FULL,)
    return min(base.size * shape.size for base in bases for shape in cycle)
