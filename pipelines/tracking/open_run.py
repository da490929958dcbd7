"""Runs of MLflow as they are opened: one for each key, whatever was interrupted before, with who and what made it."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.remote import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY = "marey.key"
"""Tag with the key of a run's folder, by which a run is found whose id nobody has noted; see `claim.own_key`."""

COMMAND_LENGTH = 6000
"""Most characters of a command; MLflow stores 8,000 of a tag."""


def open_run(store: MlflowClient, experiment: str, name: str, key: str | None, parent_run_id: str | None) -> Run:
    """Return the run with the key, made if there is none; of a request that arrived twice the first counts."""
    found = _keyed(store, key)
    if not found:
        run = _create_run(store, experiment, name, {KEY: key} if key else {}, parent_run_id)
        found = _keyed(store, key) or [run]
    first, *again = found
    for other in again:
        store.delete_run(other.info.run_id)
    if first.info.status != "RUNNING":
        store.update_run(first.info.run_id, status="RUNNING")
    return first


def _keyed(store: MlflowClient, key: str | None) -> list[Run]:
    if key is None:
        return []
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    return list(store.search_runs(experiments, f"tags.`{KEY}` = '{key}'", order_by=["attributes.start_time ASC"]))


def _create_run(
    store: MlflowClient, experiment: str, name: str, own: Mapping[str, str], parent_run_id: str | None
) -> Run:
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "marey", "mlflow.user": _user_name(), **own}
    if parent_run_id is not None:
        tags["mlflow.parentRunId"] = parent_run_id
    return store.create_run(experiment, tags=tags, run_name=name)


def command() -> dict[str, str]:
    """Return the command line, where it is one of ours."""
    program, *words = sys.argv
    if Path(program).name not in ("marey", "__main__.py"):
        return {}
    return {"command": without_credentials(shlex.join(["marey", *words]))[:COMMAND_LENGTH]}


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        return f"uid {os.getuid()}"
