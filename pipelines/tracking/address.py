"""The address of MLflow's store: made absolute, and refused where no store can be there."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from pipelines.errors import UserError
from tasks.data import storage
from tasks.remote import without_credentials

VARIABLE = "MLFLOW_TRACKING_URI"
_POSTGRES = "postgresql://"
_SQLITE = re.compile(r"(?P<dialect>sqlite(?:\+\w+)?)://(?:/(?P<path>[^?]*))?(?P<query>\?.*)?")


def tracking_uri(workspace: str | Path) -> str:
    """Return MLFLOW_TRACKING_URI, or else the workspace's own database; the path of a database file is absolute.

    Raises:
        UserError: it cannot be the address of a store.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        if not storage.is_local(str(workspace)):
            raise UserError(
                f"the workspace {workspace} cannot hold MLflow's own database: start a server (`marey mlflow-server`) "
                f"and set {VARIABLE} to it"
            )
        folder = Path(workspace).resolve()
        return file_uri(folder / "mlflow.db", f"set MAREY_WORK to another folder, or {VARIABLE} to a server")
    if (uri := _database(given, VARIABLE)) is not None:
        return uri
    if given.startswith("file:") or ("://" not in given and given != "databricks"):
        raise _no_address(given)
    return given


def database_uri(given: str, name: str) -> str:
    """Return the address of a database that a server keeps its runs in; `given` may be the path of a file.

    Args:
        given: an SQLite or PostgreSQL address, or a path.
        name: the flag or variable that it was given in.

    Raises:
        UserError: it is another address, or one that no database can have.
    """
    given = given.strip()
    if given and "://" not in given:
        given = file_uri(Path(given).expanduser().absolute(), "choose another")
    uri = _database(given, name)
    if uri is None:
        raise UserError(
            f"{name} is {without_credentials(given) or 'empty'}, and the server keeps runs in SQLite or PostgreSQL: "
            "give it a FILE.db, or postgresql://USER@HOST/DATABASE"
        )
    return uri


def file_uri(file: Path, advice: str) -> str:
    """Return the address of an SQLite database in a file.

    Args:
        file: its absolute path.
        advice: what to do where the path cannot stand in an address.

    Raises:
        UserError: it cannot.
    """
    if "?" in str(file) or unquote(str(file)) != str(file):
        raise UserError(
            f"the folder {file.parent} has a ? or a % in its path, which the address of MLflow's database cannot "
            f"hold: {advice}"
        )
    return f"sqlite:///{file}"


def _database(given: str, name: str) -> str | None:
    """Return the address of an SQLite file, with its path absolute, or of PostgreSQL; None for all others."""
    if match := _SQLITE.fullmatch(given):
        path = match["path"] or ""
        if path in ("", ":memory:"):
            raise UserError(f"{name} is {given}, a database that ends with each process: give it a file")
        file = Path(path).expanduser().absolute()
        if file.is_dir():
            raise UserError(
                f"{name} is {given}, a folder, and a database is a file: set it to sqlite:///{file}/mlflow.db"
            )
        return f"{match['dialect']}:///{file}{match['query'] or ''}"
    if given.startswith(_POSTGRES) and not find_spec("psycopg") and find_spec("psycopg2"):
        return given.replace(_POSTGRES, "postgresql+psycopg2://", 1)  # SQLAlchemy would ask for the newer driver
    return given if re.match(r"postgresql(\+\w+)?://", given) else None


def database_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for any other store."""
    match = _SQLITE.fullmatch(uri)
    return Path(unquote(match["path"] or "")) if match else None


def shown(uri: str) -> str:
    """Return the address as messages name it: a database file by its path, everything else without its passwords."""
    return str(database_file(uri) or without_credentials(uri))


def _no_address(given: str) -> UserError:
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", given):
        return UserError(f"{VARIABLE} is {given}, an address without its protocol: set it to http://{given}")
    return UserError(
        f"{VARIABLE} is {given}, and MLflow 3 keeps runs in no folder: set it to the address of a server (http://...), "
        "to a database (sqlite:///FILE.db), or leave it unset for a database in the workspace"
    )
