"""The error of every network that its user can cause and mend."""

from __future__ import annotations

from difflib import get_close_matches


class ModelError(ValueError):
    """What is wrong with a name, an option or a clip, and what would be right, in one sentence."""


def nearest(word: object, known: list[str], kind: str) -> str:
    """The second half of a sentence about an unknown word: the nearest known one, then all of them."""
    close = get_close_matches(str(word), known, n=1, cutoff=0.5)
    return (f"did you mean {close[0]!r}? The " if close else "the ") + f"{kind} are {', '.join(known)}"
