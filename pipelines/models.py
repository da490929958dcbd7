"""`marey models`: size and cost of every network as we count them, beside the published figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch

import models
from models.common.cost import cost, parameters
from models.common.description import PublishedAccuracy, ReferenceCost
from models.common.network import CHANNELS
from pipelines.text import columns

CLASSES = 400
"""Those of Kinetics-400: the number at which all networks' sizes are compared."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network. What is counted is ours, at the view that `reference` names."""

    name: str
    title: str
    paper: str
    streams: tuple[str, ...]
    parameters: int
    """Deployed parameters with 400 classes, for the first stream."""
    reference: ReferenceCost
    reference_parameters: int
    """Our count, with the reference's number of classes."""
    gmacs: float
    """Convolutions, linear layers and matrix products of one view."""
    gmacs_with_bn: float
    """The same, and 2 for every output element of batch norm: the rule of most published figures."""
    accuracy: tuple[PublishedAccuracy, ...]


def entries() -> list[Entry]:
    """Return every network; only shapes are computed, no weights are made."""
    return [_entry(name) for name in models.names()]


def to_text(shown: Iterable[Entry]) -> str:
    """Return sizes and costs, then published accuracies, as text."""
    shown = list(shown)
    rows: list[tuple[str, ...]] = [("network", "streams", "parameters", "view", "GMACs", "+ BN", "published", "paper")]
    for entry in shown:
        view = entry.reference
        rows.append(
            (
                entry.name,
                " ".join(entry.streams),
                f"{entry.parameters:,}",
                f"{view.frames}x{view.size}x{view.size}",
                f"{entry.gmacs:.2f}",
                f"{entry.gmacs_with_bn:.2f}",
                _published(entry),
                entry.paper,
            )
        )
    lines = columns(rows, right=(2, 4, 5))
    lines += [
        "",
        f"Parameters: ours, exactly, at {CLASSES} classes, first stream, without heads for training only.",
        "GMACs: ours, one view; + BN also counts batch norm, as the published figures do. Published: parameters and",
        "cost that others printed; ours under the same conditions in brackets.",
        "",
        "Published accuracies, not ours (those stand in docs/results.md with their commands):",
    ]
    results = [
        (entry.name, result.data, _percent(result), result.condition or "not stated")
        for entry in shown
        for result in entry.accuracy
    ]
    return "\n".join(lines + columns([("network", "data", "top-1 / top-5 %", "condition"), *results]))


@cache  # networks with many small layers take seconds
def _entry(name: str) -> Entry:
    about = models.describe(name)
    view = about.cost
    with torch.device("meta"):
        at_400 = parameters(models.build(name, CLASSES).deploy())
        network = models.build(name, view.classes).deploy()
        streams = network.stream.split("+")
        clips = [torch.empty(1, CHANNELS[stream], view.frames, view.size, view.size) for stream in streams]
        macs, batch_norm = cost(network, *clips)
    return Entry(
        name=name,
        title=about.title,
        paper=about.paper,
        streams=about.streams,
        parameters=at_400,
        reference=view,
        reference_parameters=parameters(network),
        gmacs=macs / 1e9,
        gmacs_with_bn=(macs + batch_norm) / 1e9,
        accuracy=about.accuracy,
    )


def _published(entry: Entry) -> str:
    view = entry.reference
    figures = []
    if view.parameters_m is not None:
        figures.append(f"{view.parameters_m:g} M [{entry.reference_parameters / 1e6:.2f}]")
    if view.gmacs is not None:
        figures.append(f"{view.gmacs:g} G [{entry.gmacs_with_bn:.2f}]")
    return ", ".join([*figures, f"{view.classes} classes"]) if figures else "none"


def _percent(result: PublishedAccuracy) -> str:
    top5 = "" if result.top5_percent is None else f" / {result.top5_percent:g}"
    mean_class = "" if result.mean_class_percent is None else f", mean class {result.mean_class_percent:g}"
    return f"{result.top1_percent:g}{top5}{mean_class}"
