"""The outcomes of the trials of a sweep: values and scores, their order, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import user_line
from tasks.words import counted

NOT_VARIED = "-"
"""Stands for a field that a trial did not vary, because of its condition."""


@dataclass(frozen=True)
class TrialOutcome:
    """The outcome of one trial."""

    name: str
    """Name of its run."""
    values: dict[str, Any]
    """The fields that it varied."""
    status: Literal["finished", "stopped", "failed"]
    """`stopped` is early, by the scheduler."""
    score: float | None
    """The best value of the sweep's metric that it reached; None of a failed trial."""
    epochs: int
    """Epochs that it trained."""
    reason: str | None = None
    """Why it failed, in one line."""
    ended: float = 0.0
    """When it reported last, in seconds since 1970."""


def ranked(outcomes: Iterable[TrialOutcome], mode: str) -> list[TrialOutcome]:
    """Return trials, the best first and failed ones last."""
    sign = -1 if mode == "max" else 1

    def key(one: TrialOutcome) -> tuple[bool, float]:
        bad = one.score is None or math.isnan(one.score)
        return bad, 0.0 if bad or one.score is None else sign * one.score

    return sorted(outcomes, key=key)


def table(outcomes: Iterable[TrialOutcome], metric: str, fields: Sequence[str]) -> list[list[str]]:
    """Return the head of a table of trials and a row for each."""
    names = short_names(fields)
    rows = [["trial", *names.values(), metric, "epochs", "status"]]
    for one in outcomes:
        values = [format_value(one.values[field]) if field in one.values else NOT_VARIED for field in fields]
        score = NOT_VARIED if one.score is None else format_value(one.score)
        rows.append([one.name, *values, score, str(one.epochs), one.status])
    return rows


def differs(values: Mapping[str, Any]) -> str:
    """Return what sets a trial apart, such as `lr=0.01 dropout=0.5`."""
    names = short_names(list(values))
    return " ".join(f"{names[field]}={format_value(value)}" for field, value in values.items())


def short_names(fields: Sequence[str]) -> dict[str, str]:
    """Return fields by the shortest end of their names that no other has: `lr` for `train.lr`.

    `name` alone would not say whose: that of the network stays `model.name`.
    """
    names = {}
    for field in fields:
        parts = field.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1) if parts[-count:] != ["name"]]
        others = [f".{other}" for other in fields if other != field]
        names[field] = next((end for end in ends if not any(o.endswith(f".{end}") for o in others)), field)
    return names


def format_value(value: Any) -> str:
    """Return a field's value for a table."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)


def epochs_of(status: str, epochs: int, planned: int) -> str:
    """Return how long a trial trained, in words."""
    if status == "stopped":
        return f"stopped after {epochs} of {counted(planned, 'epoch')}"
    return counted(epochs, "epoch")


def reason_of(error: BaseException) -> str:
    """Return why a trial failed, in one line, whatever Ray has wrapped around it."""
    line = user_line(error)
    if line is not None:
        return line
    inner = getattr(error, "cause", None)  # of ray.exceptions.RayTaskError
    if isinstance(inner, BaseException):
        error = inner
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].strip()}".rstrip(": ")
