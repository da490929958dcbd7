"""Checks of options' values, for their `__post_init__`. An option that is None passes."""

from __future__ import annotations

from models.common.errors import ModelError


def at_least(options: object, low: float, *names: str) -> None:
    """Raise `ModelError` naming the first of the options that is below `low`."""
    for name, value in _given(options, names):
        if not value >= low:
            raise ModelError(f"{name} must be at least {low}, not {value}")


def above(options: object, low: float, *names: str) -> None:
    """Raise `ModelError` naming the first of the options that is not above `low`."""
    for name, value in _given(options, names):
        if not value > low:
            raise ModelError(f"{name} must be above {low}, not {value}")


def fraction(options: object, *names: str) -> None:
    """Raise `ModelError` naming the first of the options that is outside [0, 1]."""
    for name, value in _given(options, names):
        if not 0 <= value <= 1:
            raise ModelError(f"{name} must be from 0 to 1, not {value}")


def rate(options: object, *names: str) -> None:
    """Raise `ModelError` naming the first of the options that is outside [0, 1)."""
    for name, value in _given(options, names):
        if not 0 <= value < 1:
            raise ModelError(f"{name} must be at least 0 and below 1, not {value}")


def _given(options: object, names: tuple[str, ...]) -> list[tuple[str, float]]:
    values = [(name, getattr(options, name)) for name in names]
    return [(name, value) for name, value in values if value is not None]
