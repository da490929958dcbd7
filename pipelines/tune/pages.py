"""The figures of a sweep as pages to look into, by Plotly; each holds all it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from pipelines.tune.figures import Axis, History


def write_history(history: History, title: str, metric: str, path: Path) -> None:
    """Write the score of each trial and the best so far."""
    numbers = list(range(1, len(history.scores) + 1))
    figure = go.Figure(
        [
            go.Scatter(x=numbers, y=history.scores, mode="markers", name="trial", text=history.names),
            go.Scatter(x=numbers, y=history.best, mode="lines", name="best so far", line={"shape": "hv"}),
        ]
    )
    figure.update_layout(title=title, xaxis_title="trials in the order of their end", yaxis_title=metric)
    _write(figure, path)


def write_parallel(
    axes: Sequence[Axis], scores: Sequence[float], mode: str, title: str, metric: str, path: Path
) -> None:
    """Write each trial as a line across the fields, coloured by its score; ranges of an axis can be brushed."""
    dimensions = [
        {
            "label": axis.label,
            "values": axis.positions,
            "range": [0, 1],
            "tickvals": [at for at, _ in axis.ticks],
            "ticktext": [text for _, text in axis.ticks],
        }
        for axis in axes
    ]
    line = {"color": list(scores), "colorscale": "Viridis", "showscale": True, "reversescale": mode == "min"}
    figure = go.Figure(go.Parcoords(line=line, dimensions=[*dimensions, {"label": metric, "values": list(scores)}]))
    figure.update_layout(title=title)
    _write(figure, path)


def write_importances(importances: Mapping[str, float], title: str, path: Path) -> None:
    """Write how much each field matters."""
    names = list(importances)[::-1]
    parts = [importances[name] for name in names]
    bars = go.Bar(x=parts, y=names, orientation="h", text=[f"{part:.2f}" for part in parts], textposition="outside")
    figure = go.Figure(bars)
    figure.update_layout(title=title, xaxis_title="part of the variance that the field explains (fANOVA)")
    figure.update_yaxes(ticksuffix=" ")
    _write(figure, path)


def _write(figure: go.Figure, path: Path) -> None:
    figure.update_layout(template="plotly_white")
    figure.write_html(path, include_plotlyjs=True)  # MLflow shows a page apart from the files beside it
