"""Whether MLflow's store answers and can be written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from pipelines.doctor.finding import Finding

SECONDS = 25.0
TAG = "marey.doctor"
"""Tag of the experiment that shows whether a server takes what is written."""


def tracking() -> Iterator[Finding]:
    """Ask the store that runs would go to, and write to it; a database in a file stays as it is.

    Raises:
        UserError, ClusterError: it does not serve.
    """
    from pipelines.tracking import tracking_uri, workspace
    from pipelines.tracking.address import database_file, shown
    from pipelines.tracking.store import read_store

    yield Finding("mlflow", "ok", version("mlflow"))
    place = workspace()
    uri = tracking_uri(place)
    file = database_file(uri)
    if file is None:
        _write(uri, place)
        yield Finding("tracking", "ok", f"{shown(uri)} answers and can be written{_version(uri)}")
        return
    read_store(place)
    there = next(each for each in (file, *file.parents) if each.exists())
    if not all(os.access(each, os.W_OK) for each in {there, file.parent if file.exists() else there}):
        advice = "make it writable, or set MLFLOW_TRACKING_URI to another"
        yield Finding("tracking", "error", f"{file} cannot be written", advice)
    else:
        found = f"{file} can be written" if file.exists() else f"{file}, which the first command makes"
        yield Finding("tracking", "ok", found)


def _write(uri: str, place: str | Path) -> None:
    """Write a tag of the experiment, which needs the permissions that a training does."""
    from pipelines.tracking.store import client, experiment_id

    client(uri).set_experiment_tag(experiment_id(uri, place), TAG, time.strftime("%Y-%m-%dT%H:%M:%S%z"))


def _version(uri: str) -> str:
    """Return the version of a server as the end of a line; nothing for one that does not state it."""
    import requests

    if not uri.startswith(("http://", "https://")):
        return ""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    login = (user, password) if user else None
    try:
        answer = requests.get(f"{uri.rstrip('/')}/version", timeout=3, auth=login, allow_redirects=False)
    except requests.RequestException:
        return ""
    return f" (MLflow {answer.text.strip()})" if answer.ok and len(answer.text) < 30 else ""
