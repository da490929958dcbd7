"""The columns of MLflow's list of runs: what a run is, on what, how accurate, at what cost.

MLflow itself shows no metric there. Its "Share view" keeps columns in a tag of the experiment, and a link with its key
shows them. What the tag holds is a private part of MLflow; checked with MLflow 3.17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.remote import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

WHAT, DATASET = "what", "dataset"
"""Tags of every run of ours."""
GMACS, PARAMETERS = "gmacs", "mparams"
"""Metrics of a network: thousand millions of multiply-accumulates per clip, and millions of parameters."""
WIDTHS = {
    "attributes.`Run Name`": 225,
    "runDateAndNestInfo": 150,
    f"tags.`{WHAT}`": 285,
    f"tags.`{DATASET}`": 90,
    "metrics.`val/top1_percent`": 135,
    "metrics.`test/top1_percent`": 140,
    "duration": 80,
    f"metrics.`{GMACS}`": 80,
    f"metrics.`{PARAMETERS}`": 90,
}
"""Columns in their order, with their widths in pixels; the first two and the duration are always shown."""
READABLE = 42
"""Letters of `what` that the list shows."""
KEY = "marey"
VIEW_TAG = f"mlflow.sharedViewState.{KEY}"
ABOUT = "Trainings, sweeps and evaluations of action recognition by marey."


def about(what: str, dataset: str, division: str | None = None) -> dict[str, str]:
    """Return the tags by which a run's row says what it is.

    Args:
        what: short, as `stm rgb 8x224x224`.
        dataset: its address.
        division: split or fold, where one was named.
    """
    return {WHAT: what, DATASET: dataset_name(dataset, division)}


def dataset_name(dataset: str, division: str | None = None) -> str:
    """Return how lists and descriptions call a dataset by its address, with the split or fold where one was named."""
    name = Path(without_credentials(dataset)).name
    return f"{name} ({division})" if division else name


def first_tags() -> dict[str, str]:
    """Return the tags of an experiment that is made: what it holds, and the list's columns."""
    return {"mlflow.note.content": ABOUT, VIEW_TAG: _view()}


def set_columns(store: MlflowClient, experiment: Experiment) -> None:
    """Give an experiment that was made without them, or with earlier ones, the list's columns."""
    if experiment.tags.get(VIEW_TAG) != _view():
        store.set_experiment_tag(experiment.experiment_id, VIEW_TAG, _view())


def page_of(experiment: str | None, tags: Mapping[str, str]) -> str:
    """Return the path of the page of an experiment's runs; MLflow would open on its pages about language models.

    Args:
        experiment: its id; None for the page of all experiments.
        tags: its tags.
    """
    where = f"/{experiment}/runs" if experiment else ""
    view = f"&viewStateShareKey={KEY}" if VIEW_TAG in tags else ""
    return f"/#/experiments{where}?workflowType=machine_learning{view}"


def _view() -> str:
    chosen = [column for column in WIDTHS if "`" in column and not column.startswith("attributes")]
    return json.dumps({"selectedColumns": chosen, "columnOrder": list(WIDTHS), "columnWidths": WIDTHS})
