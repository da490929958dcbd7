"""Learning rate as a pure function of the step."""

from __future__ import annotations

import math

from tasks.learn.settings import TrainSettings


def lr_at(step: int, steps_per_epoch: int, settings: TrainSettings) -> float:
    """Return the base learning rate of a step, counted from 0 over the whole training.

    During warm-up it rises linearly: step s of w warm-up steps has (s + 1) / w of the full rate. The cosine runs from
    the end of the warm-up to the end of training; milestones count from the start of training.
    """
    warmup_steps = round(settings.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        return settings.lr * (step + 1) / warmup_steps
    if settings.schedule == "step":
        passed = sum(step >= round(milestone * steps_per_epoch) for milestone in settings.milestones)
        return settings.lr * settings.gamma**passed
    if settings.schedule == "cosine":
        progress = (step - warmup_steps) / (settings.epochs * steps_per_epoch - warmup_steps)
        return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
    return settings.lr
