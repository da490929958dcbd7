"""Sentences that several readers of data need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from tasks.errors import UserError


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Say that a name is not known, with the nearest one that is."""
    known = sorted(known)
    near = get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}."
    return UserError(f"There is no {kind} {name!r}; {hint}")


def first_ten(items: Sequence[str]) -> str:
    """Join up to ten items, and say how many more there are."""
    return ", ".join(items[:10]) + (f" and {len(items) - 10} more" if len(items) > 10 else "")
