"""The result of an evaluation that never ran, for what is made of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.evaluate.result import EvaluateResult
from tasks.data import Dataset
from tasks.learn import measure


def result_of(data: Dataset, scores: dict[str, Any], run_name: str, folder: Path) -> EvaluateResult:
    """Return what a run's scores of the train part come to, by one clip.

    Args:
        data: the dataset.
        scores: label and probabilities of each video.
        run_name: the run's.
        folder: where the result's files go.
    """
    return EvaluateResult(
        run_id=None,
        run_name=run_name,
        model="tsn",
        stream="rgb",
        dataset=data.uri,
        division=data.split,
        part="train",
        videos=len(scores),
        classes=list(data.classes),
        score_space="softmax",
        results={"1 clip": measure(scores, "softmax")},
        views={"1 clip": 1},
        majority_percent=None,
        folder=folder,
    )
