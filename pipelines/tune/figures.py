"""What the figures of a sweep show: the best value so far, every trial as a line, and how much each field matters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.tune.outcome import NOT_VARIED, TrialOutcome, format_value, short_names
from pipelines.tune.space import Space

ENOUGH = 4
"""Fewest scored trials whose importances mean anything."""
TICKS = 5
"""Labels along the axis of a range."""


@dataclass(frozen=True)
class History:
    """Scores in the order in which trials ended."""

    names: list[str]
    scores: list[float]
    best: list[float]
    """The best score so far."""


@dataclass(frozen=True)
class Axis:
    """A field in parallel coordinates: where each trial crosses it, 0 to 1, and labels on the way."""

    label: str
    positions: list[float]
    ticks: list[tuple[float, str]]


def history(outcomes: Sequence[TrialOutcome], mode: str) -> History:
    """Return the scores of all trials that have one."""
    drawn = sorted(scored(outcomes), key=lambda one: one.ended)
    better, best, reached = max if mode == "max" else min, [], None
    scores = [float(one.score or 0) for one in drawn]
    for score in scores:
        reached = score if reached is None else better(reached, score)
        best.append(reached)
    return History([one.name for one in drawn], scores, best)


def axes(outcomes: Sequence[TrialOutcome], space: Space) -> list[Axis]:
    """Return an axis for each field of the space, for the trials that have a score, in their order."""
    drawn, names = scored(outcomes), short_names(list(space))
    return [
        _axis(names[field], [one.values.get(field, NOT_VARIED) for one in drawn], dimension.distribution)
        for field, dimension in space.items()
        if any(field in one.values for one in drawn)
    ]


def importances(outcomes: Sequence[TrialOutcome], space: Space, seed: int) -> dict[str, float]:
    """Return the part of the variance of scores that each field explains, by fANOVA, the largest first.

    Empty where that cannot be told: of fewer than `ENOUGH` trials, of equal scores, or where no field is in all trials.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    drawn = scored(outcomes)
    if len(drawn) < ENOUGH or len({one.score for one in drawn}) == 1:
        return {}
    names = short_names(list(space))
    study = optuna.create_study()
    for one in drawn:
        fields = [field for field in one.values if field in space]
        study.add_trial(
            optuna.trial.create_trial(
                params={names[field]: _text(one.values[field], space[field].distribution) for field in fields},
                distributions={
                    names[field]: _distribution(space[field].distribution, space[field].values) for field in fields
                },
                value=float(one.score or 0),
            )
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(part) for name, part in found.items()}


def scored(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Return the trials that have a score which can be drawn, in their order."""
    return [one for one in outcomes if one.score is not None and math.isfinite(one.score)]


def _axis(label: str, values: list[Any], distribution: str) -> Axis:
    if distribution != "choice" and NOT_VARIED not in values:
        return _range(label, [float(value) for value in values], distribution == "log_uniform")
    if distribution != "choice":
        numbers = [float(value) for value in values if value != NOT_VARIED]
        inner = _range(label, numbers, distribution == "log_uniform")
        places = iter(inner.positions)
        # those without a value cross below all others
        positions = [0.0 if value == NOT_VARIED else 0.2 + 0.8 * next(places) for value in values]
        return Axis(label, positions, [(0.0, NOT_VARIED), *((0.2 + 0.8 * at, text) for at, text in inner.ticks)])
    distinct = {format_value(value): value for value in values}
    texts = sorted(distinct, key=lambda text: _order(distinct[text]))
    at = {text: index / max(1, len(texts) - 1) for index, text in enumerate(texts)}
    return Axis(label, [at[format_value(value)] for value in values], [(at[text], text) for text in texts])


def _order(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


def _range(label: str, values: list[float], log: bool) -> Axis:
    scaled = [math.log10(value) for value in values] if log else values
    low, high = min(scaled), max(scaled)
    span = (high - low) or 1.0
    steps = TICKS - 1 if high > low else 0
    at = [low + span * step / max(1, steps) for step in range(steps + 1)]
    ticks = [((one - low) / span, f"{10**one if log else one:.3g}") for one in at]
    return Axis(label, [(one - low) / span for one in scaled], ticks)


def _text(value: Any, distribution: str) -> Any:
    return format_value(value) if distribution == "choice" else value


def _distribution(name: str, values: list[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match name:
        case "choice":
            return CategoricalDistribution([format_value(value) for value in values])
        case "int_uniform":
            return IntDistribution(*values)
    low, high = values
    return FloatDistribution(low, high, log=name == "log_uniform")
