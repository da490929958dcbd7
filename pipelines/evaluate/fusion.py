"""Late fusion: weighted sums of several runs' scores of the same videos (docs/papers/tsn-protocol.md, section 6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluate.result import EvaluateResult, per_class_csv, percentages
from pipelines.text import columns
from pipelines.tracking import make_folder, workspace
from tasks.learn import Metrics, measure

SCORE_WEIGHTS = {"rgb": 1.0, "flow": 1.5}
"""Weights of the scores by stream, as in TSN."""


@dataclass(frozen=True)
class FusedResult:
    """Metrics of several runs together, and of each alone."""

    runs: list[EvaluateResult]
    score_weights: list[float]
    videos: int
    score_space: str
    protocols: list[str]
    """By run, the protocol with the most views, whose scores are summed."""
    single: list[Metrics]
    """Metrics of each run."""
    fused: Metrics
    """Metrics of the weighted sum."""
    folder: Path
    """Holds result.json, per_class.csv and scores.npz."""


def fuse(results: Sequence[EvaluateResult], score_weights: Sequence[float] | None = None) -> FusedResult:
    """Sum the runs' raw scores, without normalisation, and measure the sum.

    Args:
        results: evaluations of the same part of the same dataset.
        score_weights: one per run; None takes those of the streams, SCORE_WEIGHTS.

    Raises:
        UserError: the runs differ in videos, classes or score space, or there are more or fewer weights than runs.
    """
    chosen = list(score_weights) if score_weights else [SCORE_WEIGHTS[result.stream] for result in results]
    if len(chosen) != len(results):
        raise UserError(f"{len(chosen)} weights for {len(results)} runs: give one per run, in the same order")
    if not any(chosen) or min(chosen) < 0:
        raise UserError(f"the weights must be at least 0, and one of them above 0, not {chosen}")
    first = results[0]
    for result in results[1:]:
        if result.classes != first.classes:
            raise UserError(f"runs {first.run_name} and {result.run_name} were trained on other classes")
        if result.score_space != first.score_space:
            raise UserError(
                f"scores of {first.run_name} are means of {first.score_space}, those of {result.run_name} of "
                f"{result.score_space}: give --score-space"
            )
    tables = [np.load(result.scores) for result in results]
    if any(list(table["video_ids"]) != list(tables[0]["video_ids"]) for table in tables[1:]):
        raise UserError("the runs were not scored on the same videos: give the same dataset, split and part for all")
    names, labels = [str(name) for name in tables[0]["video_ids"]], tables[0]["labels"]
    protocols = [result.protocol for result in results]
    scores = [
        table[f"scores_{result.views[protocol]}view"]
        for table, result, protocol in zip(tables, results, protocols, strict=True)
    ]
    total = sum(weight * score for weight, score in zip(chosen, scores, strict=True)) / sum(chosen)
    space: Any = first.score_space
    single = [result.results[protocol] for result, protocol in zip(results, protocols, strict=True)]
    fused = measure({name: (int(label), row) for name, label, row in zip(names, labels, total, strict=True)}, space)
    folder = workspace() / "evaluations" / "+".join(result.run_name for result in results) / first.folder.name
    done = FusedResult(list(results), chosen, len(names), space, protocols, single, fused, folder)
    make_folder(folder)
    np.savez(folder / "scores.npz", video_ids=names, labels=labels, classes=first.classes, scores=total)
    per_class_csv(fused.confusion, first.classes, folder / "per_class.csv")
    (folder / "result.json").write_text(json.dumps(to_dict(done), indent=1) + "\n")
    return done


def to_dict(result: FusedResult) -> dict[str, Any]:
    """Return the result as JSON takes it."""
    rows = zip(result.runs, result.score_weights, result.protocols, result.single, strict=True)
    return {
        "runs": [
            {"run": run.run_name, "weight": weight, "protocol": protocol, **_values(metrics)}
            for run, weight, protocol, metrics in rows
        ],
        "fused": _values(result.fused),
        "score_space": result.score_space,
        "videos": result.videos,
        "folder": str(result.folder),
    }


def to_text(result: FusedResult) -> str:
    """Return the result as text."""
    rows = [("run", "weight", "views", "top-1 %", "top-5 %", "mean class %")]
    for run, weight, protocol, metrics in zip(
        result.runs, result.score_weights, result.protocols, result.single, strict=True
    ):
        rows.append((run.run_name, f"{weight:g}", str(run.views[protocol]), *percentages(metrics)))
    rows.append(("together", "", "", *percentages(result.fused)))
    lines = columns(rows, right=range(1, 6))
    footer = f"weighted sums of mean {result.score_space} of {result.videos} videos: {result.folder}"
    return "\n".join([*lines, "", footer])


def _values(metrics: Metrics) -> dict[str, float]:
    values = asdict(metrics)
    return {name: values[name] for name in ("top1_percent", "top5_percent", "mean_class_percent", "loss")}
