"""Learning rate as a pure function of the position in training."""

from __future__ import annotations

import math

from tasks.learn.settings import TrainSettings


def lr_at(epoch: float, width: float, settings: TrainSettings) -> float:
    """Return the base learning rate of a step.

    It rises linearly during warm-up: step s of w has (s + 1) / w of the full rate. The cosine runs from
    the end of the warm-up to the end of training; milestones count from the start of training.

    Args:
        epoch: epochs since the start of training when the step begins, with fractions.
        width: the fraction of its epoch that the step takes.
        settings: settings of the training.
    """
    if epoch < settings.warmup_epochs:
        return settings.lr * min(1.0, (epoch + width) / settings.warmup_epochs)
    if settings.schedule == "step":
        return settings.lr * settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
    if settings.schedule == "cosine":
        progress = (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
        return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
    return settings.lr
