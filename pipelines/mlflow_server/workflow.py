"""From the arguments of `marey mlflow-server` to a server that runs, and what its clients must know of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cluster import mlflow
from cluster.errors import ClusterError
from cluster.login import other_accounts
from pipelines.mlflow_server.hosts import allowed_hosts, allowed_origins, client_url, refuse_open
from pipelines.mlflow_server.places import Places, login_of, places
from pipelines.tracking.address import shown
from pipelines.tracking.run_list import page_of
from pipelines.tracking.store import experiment_name


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    text: str
    """Where it is, what it keeps where, and what clients set; without the password."""
    process: subprocess.Popen[bytes]
    where: Places

    def wait(self) -> None:
        """Wait for its end, which is an error: it should last until it is stopped.

        Raises:
            ClusterError: it has ended.
        """
        code = self.process.wait()
        raise ClusterError(f"the MLflow server ended by itself, with code {code}: look at {self.where.log}")


@contextmanager
def serve(
    store: str | None = None,
    artifacts: str | None = None,
    *,
    host: str = mlflow.HOST,
    port: int = 5000,
    names: Sequence[str] = (),
    workers: int = 2,
    login: bool = True,
) -> Iterator[Running]:
    """Serve MLflow to several people while the context lasts.

    Args:
        store: address or path of the database, as in `places`.
        artifacts: folder or address of the artifacts, as in `places`.
        host: address to listen on.
        port: port; 0 takes a free one.
        names: names by which clients reach it, as in `allowed_hosts`.
        workers: processes that answer.
        login: ask for one.

    Raises:
        UserError, ClusterError: something that it needs does not serve, in one line.
    """
    if not login:
        refuse_open(host)
    where = places(store, artifacts)
    where.prepare()
    admin, password = login_of(where) if login else (None, "")
    names = [part.strip() for name in names for part in name.split(",") if part.strip()]  # as MLflow lists them
    allowed = allowed_hosts(names, host)
    service = mlflow.Service(
        host=host,
        allowed=allowed,
        origins=allowed_origins(allowed),
        artifacts=where.artifacts,
        accounts=where.store,
        permission="EDIT",
        workers=workers,
        log=where.log,
    )
    with mlflow.serve(where.store, port, where.folder, admin, service) as server:
        url = client_url(host, server.port, names)
        found = server.ask(f"experiments/get-by-name?experiment_name={quote(experiment_name())}", admin)
        experiment = (found or {}).get("experiment", {})
        tags = {tag["key"]: tag["value"] for tag in experiment.get("tags", ())}
        lines = [
            f"MLflow server: {url}{page_of(experiment.get('experiment_id'), tags)}  (Ctrl-C ends it)",
            f"runs: {shown(where.store)}    artifacts: {where.artifacts}    log: {where.log}",
            *_warning(experiment),
            "clients set:",
            f"  export MLFLOW_TRACKING_URI={url}",
        ]
        if admin:
            lines += [
                f"  export MLFLOW_TRACKING_USERNAME={admin.name}",
                f"  export MLFLOW_TRACKING_PASSWORD={password}",
            ]
        elif others := other_accounts():
            lines.append(f"without a login, others on this machine can change the runs: {', '.join(others)}")
        yield Running("\n".join(lines), server.process, where)


def _warning(experiment: dict[str, Any]) -> list[str]:
    """Return a line about an experiment that was made without a server, whose artifacts clients write themselves."""
    place = experiment.get("artifact_location", "mlflow-artifacts:")
    if place.startswith("mlflow-artifacts:"):
        return []
    return [
        f"the experiment {experiment_name()} keeps artifacts in {place}, to which clients write past this server: set "
        "MLFLOW_EXPERIMENT_NAME to a new one where they do not see it"
    ]
