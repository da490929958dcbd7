"""What a shared server keeps, and where: database, artifacts, login, log."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cluster import login
from cluster.login import Login
from pipelines.errors import UserError
from pipelines.tracking import artifacts as artifact_store
from pipelines.tracking import local_folder, make_folder, masked, store, workspace
from pipelines.tracking.address import database_uri, file_uri
from tasks.data import storage

FOLDER = "mlflow-server"
"""Folder of the workspace, on this machine, for all that has no other place."""
STORE = "MLFLOW_BACKEND_STORE_URI"
"""MLflow's own variable for the address of the database; it may hold a password, which a command line must not."""


@dataclass(frozen=True)
class Places:
    """Where a server keeps what it is sent."""

    folder: Path
    """Folder of this machine with login and log, and by default database and artifacts."""
    store: str
    """Address of the database, as SQLAlchemy reads it; it may hold a password."""
    store_name: str
    """The flag or variable that the database was given in."""
    artifacts: str
    """Address of the artifacts."""

    @property
    def login(self) -> Path:
        """File with name and password of the administrator."""
        return self.folder / "login"

    @property
    def log(self) -> Path:
        """File with what MLflow says."""
        return self.folder / "server.log"

    def prepare(self) -> None:
        """Make what is missing.

        Raises:
            UserError, ClusterError: the database does not serve, or artifacts cannot be written.
        """
        make_folder(self.folder)
        store.open_database(self.store, self.store_name)
        with masked(self.folder):
            artifact_store.refuse_unwritable(self.artifacts)


def places(given_store: str | None, given_artifacts: str | None) -> Places:
    """Return where a server keeps what it is sent; nothing is made.

    Args:
        given_store: address or path of the database; None for MLFLOW_BACKEND_STORE_URI, else a file in the workspace.
        given_artifacts: folder or address; None for a folder of the workspace.

    Raises:
        UserError: an address cannot be one of a database, or the workspace cannot hold a file.
    """
    folder, work = local_folder() / FOLDER, workspace()
    name = "--store" if given_store is not None else STORE
    address = given_store if given_store is not None else os.environ.get(STORE, "").strip()
    if address or given_store is not None:
        uri = database_uri(address, name)
    elif storage.is_local(work):
        uri, name = file_uri(folder / "mlflow.db", "set MAREY_WORK to another folder"), "--store"
    else:
        raise UserError(
            f"the workspace {work} cannot hold the server's database: give --store a file, or postgresql://..."
        )
    kept = given_artifacts or storage.join(work, FOLDER, "artifacts")
    return Places(folder, uri, name, Path(kept).as_uri() if storage.is_local(kept) else kept)


def login_of(places: Places) -> tuple[Login, str]:
    """Return the administrator's login, and a shell's word for its password, which does not show it.

    It is that of MLFLOW_AUTH_ADMIN_PASSWORD, else it is made once and kept in a file.

    Raises:
        ClusterError: the file cannot be believed.
    """
    if found := login.given():
        return found, "...    # as in MLFLOW_AUTH_ADMIN_PASSWORD of the server"
    make_folder(places.folder)
    word = f"\"$(cut -d: -f2 '{places.login}')\""
    return login.keep(places.login), f"{word}    # that file keeps it, readable by you only"
