"""The error that a user of a network can cause and fix."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ModelError(ValueError):
    """A wrong name, option or clip; the message says in one line what would be right."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names) or 'none'}"


def nearest_and_all(name: object, known: Iterable[str]) -> str:
    """Return the end of `did_you_mean` with all known names in either case: for options, of which there are few."""
    names = sorted(known)
    end = did_you_mean(name, names)
    return f"{end} known: {', '.join(names)}" if end.endswith("?") else end
