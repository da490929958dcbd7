"""The errors about a cluster that its user can mend."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ClusterError(Exception):
    """What is wrong with the cluster, where, and what to do about it, in one line."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
