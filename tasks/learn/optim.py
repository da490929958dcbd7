"""Optimisers with parameter groups."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from tasks.learn.settings import TrainSettings


def build_optimizer(network: nn.Module, settings: TrainSettings) -> Optimizer:
    """Make the optimiser for the `parameter_groups()` of a network.

    Parameters without a gradient (a frozen batch norm) are left out. Raises ValueError unless the groups hold
    every other parameter exactly once: some would silently not be trained.
    """
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
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
            if members:
                groups.append(
                    {
                        "params": [parameters[name] for name in members],
                        "weight_decay": settings.weight_decay if group.weight_decay else 0.0,
                        "lr_multiplier": multiplier,
                        "role": group.role,
                        "lr": settings.lr * multiplier,
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


def upstream(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return the parameters that are trained by `network.gradients`; most networks have none."""
    return [p for group in optimizer.param_groups if group["role"] == "upstream" for p in group["params"]]


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the base learning rate; each group keeps its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_multiplier"]
