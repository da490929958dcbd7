"""Checks of settings for their `__post_init__`; standard library only. A field that is None passes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def at_least(settings: object, low: float, *fields: str) -> None:
    """Raise ValueError naming the first of the fields that is below `low`."""
    for name, value in _given(settings, fields):
        if not value >= low:
            raise ValueError(f"{name} must be at least {low}, not {value}")


def above(settings: object, low: float, *fields: str) -> None:
    """Raise ValueError naming the first of the fields that is not above `low`."""
    for name, value in _given(settings, fields):
        if not value > low:
            raise ValueError(f"{name} must be above {low}, not {value}")


def within(settings: object, low: float, high: float, *fields: str) -> None:
    """Raise ValueError naming the first of the fields that is outside [low, high]."""
    for name, value in _given(settings, fields):
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, not {value}")


def ordered(settings: object, *fields: str) -> None:
    """Raise ValueError naming the first of the fields that is not a pair of numbers above 0, the smaller one first."""
    for name in fields:
        low, high = getattr(settings, name)
        if not 0 < low <= high:
            raise ValueError(f"{name} must be two numbers above 0, the smaller one first, not {low} and {high}")


def floats(settings: Any) -> None:
    """Make every field of type float one, so that 1 and 1.0 are the same setting and give the same digest."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.type == "float" and type(value) is int:
            object.__setattr__(settings, one.name, float(value))


def _given(settings: object, fields: tuple[str, ...]) -> list[tuple[str, float]]:
    values = [(name, getattr(settings, name)) for name in fields]
    return [(name, value) for name, value in values if value is not None]
