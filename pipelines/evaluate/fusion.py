"""Late fusion: weighted sums of several runs' scores of the same videos (docs/papers/tsn-protocol.md, section 6)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import UserError
from pipelines.evaluate.result import EvaluateResult, joined, per_class_csv, percentages
from pipelines.evaluate.workflow import Plan, carry_out, plan
from pipelines.text import columns
from pipelines.tracking import Tracker, local_folder, make_folder, workspace
from pipelines.tracking.run_list import about
from pipelines.tracking.workspace import address_of, upload
from tasks.words import counted

if TYPE_CHECKING:
    from tasks.learn import Metrics

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
    run_id: str | None = None
    """The fused result's own run in MLflow, where it has one."""


def fuse(results: Sequence[EvaluateResult], score_weights: Sequence[float] | None = None) -> FusedResult:
    """Sum the runs' raw scores, without normalisation, and measure the sum.

    Args:
        results: evaluations of the same part of the same dataset.
        score_weights: one per run; None takes those of the streams, SCORE_WEIGHTS.

    Raises:
        UserError: the runs differ in videos, classes or score space, or there are more or fewer weights than runs.
    """
    from tasks.learn import measure

    tables = [np.load(result.scores) for result in results]
    members = [
        _Member(one.run_name, one.stream, one.classes, one.score_space, _labels(table))
        for one, table in zip(results, tables, strict=True)
    ]
    chosen = _check(members, score_weights)
    first = results[0]
    folder = _folder(members, first.folder)
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
    done = FusedResult(list(results), chosen, len(names), space, protocols, single, fused, folder)
    np.savez(folder / "scores.npz", video_ids=names, labels=labels, classes=first.classes, scores=total)
    per_class_csv(fused.confusion, first.classes, folder / "per_class.csv")
    (folder / "result.json").write_text(json.dumps(to_dict(done), indent=1) + "\n")
    upload(folder)
    return done


def evaluate_together(
    runs: Sequence[str],
    dataset: str | None = None,
    score_weights: Sequence[float] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str | None = None,
    fold: str | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> tuple[list[EvaluateResult], FusedResult | None]:
    """Evaluate runs one by one and, where there are several, fused; arguments as those of `evaluate` and `fuse`.

    Raises:
        UserError: as those raise it, before the first run is scored.
    """
    plans = [plan(run, dataset, overrides=overrides, split=split, fold=fold) for run in runs]
    if len(plans) > 1 or score_weights:
        members = [_of_plan(one) for one in plans]
        _check(members, score_weights)
        _folder(members, plans[0].folder)
    results = [carry_out(one, workers=workers, address=address) for one in plans]
    if len(results) < 2:
        return results, None
    fused = fuse(results, score_weights)
    if all(one.run_id is not None for one in results):  # checkpoints by their folder may be of nobody's MLflow
        fused = replace(fused, run_id=_track(fused, plans[0]))
    return results, fused


def choose_weights(streams: Sequence[str], score_weights: Sequence[float] | None) -> list[float]:
    """Return the weights of runs' scores: those given, else those of the streams.

    Raises:
        UserError: there are more or fewer than runs, or one is negative, or all are 0.
    """
    chosen = list(score_weights) if score_weights else [SCORE_WEIGHTS[stream] for stream in streams]
    if len(chosen) != len(streams):
        raise UserError(
            f"{counted(len(chosen), 'weight')} for {counted(len(streams), 'run')}: give one per run, in the same order"
        )
    if not any(chosen) or not all(0 <= weight < math.inf for weight in chosen):
        raise UserError(f"the weights must be at least 0, and one of them above 0, not {chosen}")
    return chosen


@dataclass(frozen=True)
class _Member:
    """What must agree between runs that are fused."""

    name: str
    stream: str
    classes: list[str]
    score_space: str
    videos: dict[str, int]
    """Labels by video."""


def _of_plan(one: Plan) -> _Member:
    return _Member(one.run.name, one.identity.stream, one.identity.classes, one.space, one.videos)


def _labels(table: Any) -> dict[str, int]:
    return dict(zip(table["video_ids"].tolist(), table["labels"].tolist(), strict=True))


def _track(result: FusedResult, how: Plan) -> str:
    """Log a fused result, whose first run was scored by the plan, as an MLflow run of its own; return the id."""
    first = result.runs[0]
    tags = {
        "fused.runs": " ".join(str(one.run_id) for one in result.runs),
        "fused.weights": " ".join(f"{weight:g}" for weight in result.score_weights),
        "fused.score_space": result.score_space,
        "dataset.uri": first.dataset,
        **about(f"fusion of {' and '.join(one.run_name for one in result.runs)}", first.dataset, how.fold or how.split),
    }
    name = joined([one.run_name for one in result.runs])
    with Tracker.start(workspace(), name, params={}, tags=tags, experiment=how.trained.experiment) as tracker:
        values = {f"{first.part}/fused/{key}": value for key, value in _values(result.fused).items()}
        tracker.log_metrics({**values, f"{first.part}/top1_percent": result.fused.top1_percent}, step=0)
        tracker.log_artifact(result.folder, f"evaluate/{result.folder.name}")
        tracker.set_note(f"```\n{to_text(result)}\n```")
    return tracker.run_id


def _check(members: Sequence[_Member], score_weights: Sequence[float] | None) -> list[float]:
    """Return the weights of runs that can be fused; raise UserError for others."""
    chosen = choose_weights([member.stream for member in members], score_weights)
    first = members[0]
    for member in members[1:]:
        if member.classes != first.classes:
            raise UserError(f"runs {first.name} and {member.name} were trained on other classes")
        if member.score_space != first.score_space:
            raise UserError(
                f"scores of {first.name} are means of {first.score_space}, those of {member.name} of "
                f"{member.score_space}: give --score-space"
            )
        if member.videos != first.videos:
            raise UserError(
                f"runs {first.name} and {member.name} are scored on other videos: give the same dataset, split and "
                "part for all"
            )
    return chosen


def _folder(members: Sequence[_Member], first: Path) -> Path:
    """Make the folder of the fused result, named like that of the first run's."""
    folder = local_folder() / "evaluations" / joined([member.name for member in members]) / first.name
    make_folder(folder)
    return folder


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
        "folder": address_of(result.folder),
        "run_id": result.run_id,
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
    videos = counted(result.videos, "video")
    footer = f"weighted sums of mean {result.score_space} of {videos}: {address_of(result.folder)}"
    return "\n".join([*lines, "", footer])


def _values(metrics: Metrics) -> dict[str, float]:
    values = asdict(metrics)
    return {name: values[name] for name in ("top1_percent", "top5_percent", "mean_class_percent", "loss")}
