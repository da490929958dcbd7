"""Plots of a run: its curves and its confusion matrix, by matplotlib without a display."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.fonts import columns, drawable

PANELS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Loss", "cross-entropy", {"train/loss": "train", "val/loss": "val"}),
    (
        "Accuracy",
        "percent",
        {
            "train/top1_percent": "train top-1",
            "val/top1_percent": "val top-1",
            "val/top5_percent": "val top-5",
            "val/mean_class_percent": "val mean class",
        },
    ),
    ("Learning rate", "", {"train/lr": "learning rate"}),
    ("Speed", "clips/s", {"workers/clips_per_s": "clips/s"}),
)
STYLES = {
    "train": ("tab:blue", "-"),
    "train top-1": ("tab:blue", "-"),
    "val": ("tab:orange", "-"),
    "val top-1": ("tab:orange", "-"),
    "val top-5": ("tab:orange", ":"),
    "val mean class": ("tab:green", "--"),
}
"""Label of a line -> its colour and dashes."""
POINTS = 60
"""A line of fewer points than this has a marker at each."""
LABELLED = 80
"""Most classes for which names are written along a confusion matrix."""
LONGEST_TITLE = 200
"""Columns of a title, in any number of lines."""
LETTERS_PER_INCH = 11
"""Letters of a title in an inch, on average."""
COUNTED = 30
"""Most classes for which counts are written into its cells."""


def curves(history: Mapping[str, Sequence[tuple[int, float]]], title: str, path: Path) -> None:
    """Draw the metrics of a run over its optimisation steps.

    Args:
        history: metric -> (step, value) points.
        title: heading.
        path: PNG file to write.
    """
    figure = Figure(figsize=(11, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    heading, families = _wrapped(title, 11)
    figure.suptitle("\n".join(heading), family=families, parse_math=False)
    for axes, (name, unit, lines) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        _panel(axes, name, unit, {label: history[key] for key, label in lines.items() if history.get(key)})
    figure.savefig(path)


def _panel(axes: Axes, name: str, unit: str, lines: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    for label, points in lines.items():
        steps, values = zip(*points, strict=True)
        marker = "o" if len(points) < POINTS else None
        colour, dashes = STYLES.get(label, ("tab:blue", "-"))
        axes.plot(steps, values, dashes, label=label, color=colour, marker=marker, markersize=3, linewidth=1.4)
    axes.set_title(name)
    axes.set_xlabel("optimisation step")
    axes.set_ylabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if unit == "percent":
        axes.set_ylim(0, 102)
    if len(lines) > 1:
        axes.legend(fontsize=8)


def confusion(counts: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix: colour is the fraction of the true class, numbers are videos.

    Args:
        counts: int [K, K]; rows are true classes, columns predicted ones.
        classes: K names.
        title: heading.
        path: PNG file to write.
    """
    num_classes = len(classes)
    labelled = num_classes <= LABELLED
    names = drawable(classes if labelled else ())
    as_drawn: dict[str, Any] = {"family": names.families, "parse_math": False}
    longest = max(map(columns, names.texts), default=0)
    cell = 0.55 if num_classes <= COUNTED else 0.2 if labelled else 0.03
    side = max(3.5, cell * num_classes)
    text = 0.085 * longest
    heading, families = _wrapped(title, side + 2.2)
    height = side + text + 1.2 + 0.2 * len(heading)
    figure = Figure(figsize=(side + text + 2.2, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # Hundreds of classes leave a pixel or two for each: weak shades are drawn darker there, so that errors show.
    norm = PowerNorm(1.0 if labelled else 0.4, vmin=0, vmax=100)
    image = axes.imshow(100 * fractions, cmap="Blues", norm=norm, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, label="percent of the true class")
    axes.set_title("\n".join(heading), family=families, parse_math=False, fontsize=11)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if labelled:
        size = 9 if num_classes <= COUNTED else 7
        axes.set_xticks(range(num_classes), names.texts, rotation=90, fontsize=size, **as_drawn)
        axes.set_yticks(range(num_classes), names.texts, fontsize=size, **as_drawn)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("predicted (class number; names in per_class.csv)")
        axes.set_ylabel("true (class number)")
    if num_classes <= COUNTED:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if fractions[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=colour)
    figure.savefig(path)


def _wrapped(title: str, inches: float) -> tuple[list[str], list[str]]:
    """Return a title's lines, cut to a width, and its fonts; matplotlib's wrapping takes dollars for mathematics."""
    found = drawable(title.splitlines(), LONGEST_TITLE)
    lines = []
    for text in found.texts:
        letters = int(inches * LETTERS_PER_INCH * len(text) / max(1, columns(text)))
        lines += textwrap.wrap(text, letters)
    return lines, found.families
