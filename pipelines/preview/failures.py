"""The failed videos on the page of `marey preview`: all of them, however many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.data.overview import Overview
from tasks.video.errors import TRANSIENT

AT_ONCE = 200
"""Rows that the browser lays out before somebody asks for more."""
FILTERED = 20
"""More rows than this come with a field to filter them."""


@dataclass(frozen=True)
class Failures:
    """What failures.html.j2 shows."""

    rows: list[dict[str, Any]]
    """label, video_id, uri, kind and message of each."""
    kinds: dict[str, int]
    """Number of videos by kind, the most frequent first."""
    filtered: bool
    """Whether there is a field to filter them."""
    at_once: int = AT_ONCE
    transient: frozenset[str] = frozenset(TRANSIENT)
    """Kinds that the next preparation tries again."""


def failures_of(overview: Overview, classes: Sequence[str]) -> Failures:
    """Return the failed videos of a dataset."""
    rows = [row | {"label": classes[row["label_id"]]} for row in overview.failures()]
    kinds = Counter(row["kind"] for row in rows)
    return Failures(rows, dict(kinds.most_common()), len(rows) > FILTERED)
