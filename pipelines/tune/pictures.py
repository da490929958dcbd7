"""The figures of a sweep as PNG, by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.tune.figures import Axis, History


def draw_history(history: History, title: str, metric: str, path: Path) -> None:
    """Draw the score of each trial and the best so far."""
    figure = _figure(9, 5)
    axes = figure.subplots()
    numbers = range(1, len(history.scores) + 1)
    axes.plot(numbers, history.scores, "o", color="tab:blue", label="trial", markersize=5)
    axes.step(numbers, history.best, where="post", color="tab:orange", label="best so far", linewidth=1.6)
    axes.set(title=title, xlabel="trials in the order of their end", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def draw_parallel(
    axes: Sequence[Axis], scores: Sequence[float], mode: str, title: str, metric: str, path: Path
) -> None:
    """Draw each trial as a line across the fields, coloured by its score, the best on top."""
    figure = _figure(max(7, 2.2 * len(axes) + 2), 5.5)
    plot = figure.subplots()
    low, high = min(scores), max(scores)
    norm = Normalize(low, high if high > low else low + 1)
    colours = matplotlib.colormaps["viridis" if mode == "max" else "viridis_r"]
    places = range(len(axes) + 1)
    span = (high - low) or 1.0
    rise = [(score - low) / span for score in scores]
    for trial in sorted(range(len(scores)), key=lambda one: scores[one], reverse=mode == "min"):
        heights = [*(axis.positions[trial] for axis in axes), rise[trial]]
        plot.plot(
            places, heights, color=colours(norm(scores[trial])), linewidth=1.6, alpha=0.85, marker="o", markersize=3
        )
    for place, axis in enumerate(axes):
        plot.axvline(place, color="0.4", linewidth=0.8)
        for height, text in axis.ticks:
            plot.annotate(
                text,
                (place, height),
                xytext=(-5, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
            )
    plot.axvline(len(axes), color="0.4", linewidth=0.8)
    plot.set_xticks(list(places), [*(axis.label for axis in axes), metric])
    plot.set_yticks([])
    plot.set(title=title, xlim=(-0.45, len(axes) + 0.1), ylim=(-0.05, 1.05))
    for side in plot.spines.values():
        side.set_visible(False)
    figure.colorbar(ScalarMappable(norm, colours), ax=plot, label=metric)
    figure.savefig(path)


def draw_importances(importances: Mapping[str, float], title: str, path: Path) -> None:
    """Draw how much each field matters."""
    figure = _figure(8, 1.5 + 0.5 * max(2, len(importances)))
    axes = figure.subplots()
    names = list(importances)[::-1]
    bars = axes.barh(names, [importances[name] for name in names], color="tab:blue")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(title=title, xlabel="part of the variance that the field explains (fANOVA)", xlim=(0, 1.08))
    figure.savefig(path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
