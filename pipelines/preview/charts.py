"""The charts of `marey preview`: what the templates draw by a style sheet, and a screen reader reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

BINS = 24
TAIL = 0.99
"""Fraction of the values that the axis of a histogram holds where the rest lie far away; those share the last bar."""
LISTED = 1000
"""Most classes listed; of more, only the largest and the smallest are."""
SEGMENTS = ("train", "val", "test", "in no part", "failed")


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram."""

    height: str
    """In percent of the tallest."""
    title: str


@dataclass(frozen=True)
class Histogram:
    """What histogram.html.j2 draws."""

    title: str
    things: str
    """What is counted."""
    note: str
    bars: list[Bar] = field(default_factory=list)
    summary: str = ""
    most: int = 0
    """Count of the tallest bar."""
    ticks: tuple[str, ...] = ()
    """Labels at the left, the middle and the right of the axis."""


@dataclass(frozen=True)
class ClassRow:
    """One class of a `ClassBars`."""

    label: str
    link: str | None
    """Where on the page its samples are."""
    total: int
    counts: list[int]
    """By segment."""
    widths: dict[str, str]
    """Segment -> percent of the longest bar, where it is not empty."""


@dataclass(frozen=True)
class ClassBars:
    """What class_bars.html.j2 draws."""

    segments: list[str]
    rows: list[ClassRow | None]
    """The largest class first; None where classes are left out."""
    omitted: str = ""
    """How many classes are left out, and of what size."""


def histogram(title: str, values: Sequence[float] | np.ndarray, unit: str, things: str, note: str) -> Histogram:
    """Return how `values` (in `unit`) spread over `things`."""
    values = np.asarray(values, float)
    if not len(values):
        return Histogram(title, things, note)
    edges, cut = _edges(values)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    low, middle, high = (float(v) for v in (values.min(), np.median(values), values.max()))
    heights = 100 * counts / counts.max()
    bars = [
        Bar(f"{height:.2f}", f"{_range(edges, i, cut, unit)}: {count:,} {things}")
        for i, (height, count) in enumerate(zip(heights, counts, strict=True))
    ]
    summary = f"median {_short(middle)}, from {_short(low)} to {_short(high)} {unit}"
    if _short(low) == _short(high):
        summary = f"all {_short(low)} {unit}"
    last = f"{_short(edges[-1])} {unit}{' and more' if cut else ''}"
    ticks = (_short(edges[0]), _short((edges[0] + edges[-1]) / 2), last)
    return Histogram(title, things, note, bars, summary, int(counts.max()), ticks)


def class_bars(labels: Sequence[str], counts: np.ndarray, links: Mapping[int, str] | None = None) -> ClassBars:
    """Return a bar per class, divided into train, val, test, no part and failed.

    Args:
        labels: K names.
        counts: int [K, 5].
        links: addresses on the page of some of the classes.
    """
    totals = counts.sum(1)
    order = np.argsort(-totals, kind="stable").tolist()
    used = [i for i in range(len(SEGMENTS)) if counts[:, i].any()]
    longest = int(totals.max())

    def row(k: int) -> ClassRow:
        widths = {SEGMENTS[i]: f"{100 * counts[k, i] / longest:.3f}" for i in used if counts[k, i]}
        return ClassRow(labels[k], (links or {}).get(k), int(totals[k]), [int(counts[k, i]) for i in used], widths)

    segments = [SEGMENTS[i] for i in used]
    if len(order) <= LISTED:
        return ClassBars(segments, [row(k) for k in order])
    half = LISTED // 2
    omitted = f"{len(order) - 2 * half:,} classes of {totals[order[-half - 1]]:,} to {totals[order[half]]:,} videos"
    return ClassBars(segments, [*map(row, order[:half]), None, *map(row, order[-half:])], omitted)


def _edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the edges of equal, round bins, and whether the last one holds a far tail too."""
    low, high, most = float(values.min()), float(values.max()), float(np.quantile(values, TAIL))
    cut = high - low > 2 * (most - low) > 0
    top = most if cut else high
    if top == low:  # all alike
        low, top = max(low - 0.5, 0.0), low + 0.5
    unit = 10.0 ** np.floor(np.log10((top - low) / BINS))
    width = next(step * unit for step in (1, 2, 2.5, 5, 10) if (top - low) / (step * unit) <= BINS)
    first, last = np.floor(low / width), max(np.floor(low / width) + 1, np.ceil(top / width))
    return np.arange(first, last + 1) * width, bool(cut)


def _range(edges: np.ndarray, index: int, cut: bool, unit: str) -> str:
    low, high = _short(edges[index]), _short(edges[index + 1])
    return f"{low} {unit} and more" if cut and index == len(edges) - 2 else f"{low} to {high} {unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"
