"""The result of an evaluation: its metrics, its files and its text."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np

from pipelines.errors import UserError
from pipelines.text import columns, write_csv
from pipelines.tracking.workspace import address_of
from tasks.words import counted

if TYPE_CHECKING:
    from tasks.learn import Metrics

PER_CLASS = ("class", "videos", "correct", "recall_percent", "predicted", "precision_percent", "mistaken_for")
"""Columns of per_class.csv."""
RESULT = "result.json"
"""File of the metrics, in the folder of an evaluation."""
LONGEST_NAME = 120
"""Bytes of a folder's name that is joined of others; file systems take 255."""


@dataclass(frozen=True)
class EvaluateResult:
    """Scores of one run on one part; `confusion` and the files are those of the protocol with the most views."""

    run_id: str | None
    run_name: str
    model: str
    stream: str
    dataset: str
    division: str
    """Name of the split, or the fold."""
    part: str
    videos: int
    classes: list[str]
    score_space: Literal["logits", "softmax"]
    """What is averaged over views: logits or softmax."""
    results: dict[str, Metrics]
    """Metrics by protocol, the 1-view one first."""
    views: dict[str, int]
    majority_percent: float | None
    """Top-1 of always answering the class that is most frequent in the train part; None if there is no such part."""
    folder: Path
    """Folder on this machine with confusion.csv, confusion.png, errors.html, per_class.csv, result.json and `scores`;
    where the workspace is at an address, the copy of what is there."""

    @property
    def protocol(self) -> str:
        """Protocol with the most views: the published one, unless the settings name another."""
        return max(self.views, key=lambda protocol: self.views[protocol])

    @property
    def scores(self) -> Path:
        """NPZ: video_ids, labels, classes, and float64 scores [videos, classes], one array per number of views."""
        return self.folder / "scores.npz"

    @property
    def confusion(self) -> np.ndarray:
        """int64 [K, K], videos by true class (row) and predicted class (column)."""
        return self.results[self.protocol].confusion

    @property
    def metrics(self) -> dict[str, float]:
        """`test/30view/top1_percent` and so on, the majority baseline, and `test/top1_percent` by the most views.

        `val/top1_percent` and `train/top1_percent` are those of the training.
        """
        values = {}
        if self.part == "test":
            values["test/top1_percent"] = self.results[self.protocol].top1_percent
        if self.majority_percent is not None:
            values[f"{self.part}/majority_percent"] = self.majority_percent
        for protocol, metrics in self.results.items():
            for name in ("top1_percent", "top5_percent", "mean_class_percent", "loss"):
                values[f"{self.part}/{self.views[protocol]}view/{name}"] = getattr(metrics, name)
        return values


def write(result: EvaluateResult, scored: dict[int, dict[str, tuple[int, np.ndarray]]]) -> None:
    """Write the files of the result's folder; `scored` are the scores by number of views."""
    from pipelines.tracking.plots import confusion

    first = next(iter(scored.values()))
    order = sorted(first)
    arrays = {f"scores_{views}view": [scores[video][1] for video in order] for views, scores in scored.items()}
    labels = [first[video][0] for video in order]
    np.savez(result.scores, **_arrays(video_ids=order, labels=labels, classes=result.classes, **arrays))
    metrics = result.results[result.protocol]
    rows = [[name, *row] for name, row in zip(result.classes, metrics.confusion.tolist(), strict=True)]
    write_csv(result.folder / "confusion.csv", [["true \\ predicted", *result.classes], *rows])
    per_class_csv(metrics.confusion, result.classes, result.folder / "per_class.csv")
    title = f"{result.run_name} on the {result.part} part of {Path(result.dataset).name}, split {result.division}"
    confusion(
        metrics.confusion,
        result.classes,
        f"{title}\n{result.protocol}: top-1 {metrics.top1_percent:.1f} % of {counted(result.videos, 'video')}",
        result.folder / "confusion.png",
    )
    (result.folder / RESULT).write_text(json.dumps(to_dict(result), indent=1) + "\n")


def read(folder: Path) -> EvaluateResult:
    """Return the result that `write` left in a folder; UserError where its files are damaged."""
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
        raise UserError(f"the files of an evaluation in {folder} are damaged: delete it to evaluate again") from error


def _read(folder: Path) -> EvaluateResult:
    from tasks.learn import measure

    stored = json.loads((folder / RESULT).read_text())
    table = np.load(folder / "scores.npz")
    names, labels, space = table["video_ids"].tolist(), table["labels"].tolist(), stored["score_space"]
    results = {}
    for protocol, views in stored["views"].items():
        rows = zip(names, labels, table[f"scores_{views}view"], strict=True)
        results[protocol] = measure({name: (label, row) for name, label, row in rows}, space)
    kept = {
        field.name: stored[field.name] for field in fields(EvaluateResult) if field.name not in ("results", "folder")
    }
    return EvaluateResult(**kept, results=results, folder=folder)


def _arrays(**lists: list[Any]) -> dict[str, Any]:
    return {name: np.array(values) for name, values in lists.items()}


def per_class_csv(confusion: np.ndarray, classes: list[str], path: Path) -> None:
    """Write `per_class` as a table."""
    write_csv(path, [PER_CLASS, *per_class(confusion, classes)])


def per_class(confusion: np.ndarray, classes: list[str]) -> list[list[Any]]:
    """Return a row per class: videos, correct, recall, predicted, precision (empty if undefined), worst confusion."""
    rows = []
    for index, name in enumerate(classes):
        videos, predicted, correct = confusion[index].sum(), confusion[:, index].sum(), confusion[index, index]
        wrong = confusion[index].copy()
        wrong[index] = 0
        rows.append(
            [
                name,
                int(videos),
                int(correct),
                f"{100 * correct / videos:.2f}" if videos else "",
                int(predicted),
                f"{100 * correct / predicted:.2f}" if predicted else "",
                classes[int(wrong.argmax())] if wrong.any() else "",
            ]
        )
    return rows


def to_text(result: EvaluateResult) -> str:
    """Return the result as text."""
    head = (
        f"{result.run_name}: {result.model}, {result.stream}, on {Path(result.dataset).name} "
        f"({result.division}, {result.part}): {counted(result.videos, 'video')}, "
        f"{counted(len(result.classes), 'class')}"
    )
    rows = [("protocol", "views", "mean of", "top-1 %", "top-5 %", "mean class %")]
    for protocol, metrics in result.results.items():
        rows.append((protocol, str(result.views[protocol]), result.score_space, *percentages(metrics)))
    if result.majority_percent is not None:
        rows.append(("always the most frequent class", "", "", f"{result.majority_percent:.2f}", "", ""))
    lines = columns(rows, right=(1, 3, 4, 5))
    footer = f"confusion matrix, per-class table, scores: {address_of(result.folder)}"
    return "\n".join([head, "", *lines, "", footer])


def percentages(metrics: Metrics) -> tuple[str, str, str]:
    """Return top-1, top-5 and mean class accuracy as cells of a table."""
    return f"{metrics.top1_percent:.2f}", f"{metrics.top5_percent:.2f}", f"{metrics.mean_class_percent:.2f}"


def to_dict(result: EvaluateResult) -> dict[str, Any]:
    """Return the result as JSON takes it, without the confusion matrix."""
    values = {key: value for key, value in asdict(result).items() if key != "results"}
    places = {"folder": address_of(result.folder), "scores": address_of(result.scores)}
    return {**values, **places, "metrics": result.metrics}


def slug(text: str) -> str:
    """Return a text with letters that a file's name can hold."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)


def joined(names: Sequence[str]) -> str:
    """Return a folder's name for several runs or divisions: their names, or a digest where those make it too long."""
    text = "+".join(names)
    if len(text.encode()) <= LONGEST_NAME:
        return text
    return f"{len(names)}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
