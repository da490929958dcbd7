"""Optimisers with parameter groups."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from tasks.errors import UserError
from tasks.learn.settings import TrainSettings
from tasks.learn.shares import SMALLEST, SMALLEST_HALVED


def build_optimizer(network: nn.Module, settings: TrainSettings) -> Optimizer:
    """Make the optimiser for the `parameter_groups()` of a network.

    Parameters without a gradient (a frozen batch norm) are left out. Raises ValueError unless the groups hold
    every other parameter exactly once: some would silently not be trained. UserError if no parameter fits a pattern of
    `lr_factors`.
    """
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    for pattern in settings.lr_factors:
        if not fnmatch.filter(parameters, pattern):
            some = ", ".join([*parameters][:: max(1, len(parameters) // 3)][:3])
            raise UserError(f"train.lr_factors: no parameter is named like {pattern!r}; names are such as {some}")
    groups: list[dict[str, Any]] = []
    seen: list[str] = []
    heads = tuple(f"{head}." for head in (network.classifier, *network.heads))  # type: ignore[misc]
    for group in network.parameter_groups():  # type: ignore[operator]
        names = [name for name in group.names if name in parameters]
        seen += names
        head = [name for name in names if name.startswith(heads)]
        trunk = [name for name in names if name not in head]
        for members, multiplier in (
            (trunk, group.lr_multiplier * settings.trunk_lr_factor),
            (head, group.lr_multiplier),
        ):
            for factor, alike in _by_factor(members, settings.lr_factors).items():
                groups.append(
                    {
                        "params": [parameters[name] for name in alike],
                        "weight_decay": settings.weight_decay if group.weight_decay else 0.0,
                        "lr_multiplier": multiplier * factor,
                        "role": group.role,
                        "lr": settings.lr * multiplier * factor,
                    }
                )
    if sorted(seen) != sorted(parameters):
        wrong = sorted({name for name in parameters if seen.count(name) != 1})
        raise ValueError(
            f"parameter_groups() of {type(network).__name__} must hold each of {', '.join(wrong)} exactly once"
        )
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=settings.lr, betas=settings.betas)
    return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)


def _by_factor(names: list[str], factors: Mapping[str, float]) -> dict[float, list[str]]:
    """Return the names by the product of all factors whose patterns fit, in the order of the first name of each."""
    found: dict[float, list[str]] = {}
    for name in names:
        factor = math.prod(value for pattern, value in factors.items() if fnmatch.fnmatchcase(name, pattern))
        found.setdefault(factor, []).append(name)
    return found


def upstream(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return the parameters that are trained by `network.gradients`; most networks have none."""
    return [p for group in optimizer.param_groups if group["role"] == "upstream" for p in group["params"]]


def smallest_share(network: nn.Module) -> int:
    """Return the fewest clips of a share on which the network can train."""
    halved = any(group.role == "upstream" for group in network.parameter_groups())  # type: ignore[operator]
    return SMALLEST_HALVED if halved else SMALLEST


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the base learning rate; each group keeps its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_multiplier"]
