"""Learning rate as a pure function of the position in training."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from tasks.learn.settings import TrainSettings


def lr_at(step: int, starts: Sequence[int], settings: TrainSettings) -> float:
    """Return the base learning rate of a step.

    It rises linearly during warm-up: step s of w has (s + 1) / w of the full rate. The cosine runs from
    the end of the warm-up to the end of training; milestones count from the start of training.

    Args:
        step: its number, counted from 0 over the whole training.
        starts: steps before each epoch, and those of the whole training.
        settings: settings of the training.
    """
    epoch = epochs_at(step, starts)
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    if epoch < settings.warmup_epochs:
        return settings.lr * min(1.0, (epoch + _width_at(step, starts)) / settings.warmup_epochs)
    if settings.schedule == "step":
        return settings.lr * settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
    if settings.schedule == "cosine":
        warm = settings.warmup_epochs or epochs_at(settings.warmup_steps, starts)
        progress = (epoch - warm) / (settings.epochs - warm)
        return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
    return settings.lr


def epochs_at(step: int, starts: Sequence[int]) -> float:
    """Return the epochs, with fractions, that have passed when a step begins."""
    epoch = bisect_right(starts, step) - 1
    if epoch == len(starts) - 1:
        return float(epoch)
    return epoch + (step - starts[epoch]) / (starts[epoch + 1] - starts[epoch])


def _width_at(step: int, starts: Sequence[int]) -> float:
    """Return the fraction of its epoch that a step takes."""
    epoch = bisect_right(starts, step) - 1
    return 1 / (starts[epoch + 1] - starts[epoch])
