"""What MLflow and the libraries below it raise about a store, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from cluster.errors import ClusterError
from pipelines.errors import USER_ERRORS, UserError
from pipelines.tracking.address import VARIABLE, database_file, shown
from tasks.remote import without_credentials

OUTAGES = (
    *("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "BAD_REQUEST", "ENDPOINT_NOT_FOUND", "REQUEST_LIMIT_EXCEEDED"),
    *("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"),
)
"""MLflow's codes for a store that fails; the others answer the question that was asked."""
DRIVERS = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "PyMySQL",
}
"""Modules of database drivers -> packages to install, where the names differ."""


@contextmanager
def one_line(uri: str) -> Iterator[None]:
    """Turn the failures of the store at `uri` into errors of one line; what MLflow says of a request stays.

    Raises:
        UserError: a package is missing, or the address is wrong.
        ClusterError: the store fails; it may answer again.
    """
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        if error.error_code not in OUTAGES:
            raise
        raise explain(error, uri) from error
    except (SQLAlchemyError, CommandError, RequestException, ImportError, OSError, UnicodeDecodeError) as error:
        raise explain(error, uri) from error


def explain(error: Exception, uri: str, name: str = VARIABLE) -> Exception:
    """Return a failure of the store at `uri` as an error of one line; `name` is where its address was given."""
    if isinstance(error, USER_ERRORS):
        return error
    if isinstance(error, ImportError):
        name = error.name or str(error)
        return UserError(f"{shown(uri)} needs the package {name}: pip install {DRIVERS.get(name, name)}")
    said = without_credentials(" ".join(str(error).split()))
    if isinstance(error, OSError) and error.filename:  # of a folder of artifacts, not of the store
        return ClusterError(f"{error.filename} cannot be used: {error.strerror}")
    if file := database_file(uri):
        return _about_file(said, file, name)
    if uri.startswith(("http://", "https://")):
        return _about_server(said, uri)
    return _about_database(said, uri, name)


def _about_file(said: str, file: Path, name: str) -> Exception:
    reason = _database_reason(said)
    if "locked" in said or "busy" in said:
        return ClusterError(f"MLflow's database {file} is locked: end the process that holds it, or try again")
    if re.search(r"readonly|unable to open|Permission denied|Read-only", said):
        return UserError(f"MLflow's database {file} cannot be written ({reason}): set {name} to another")
    if re.search(r"disk is full|No space left|quota", said):
        return ClusterError(f"MLflow's database {file} cannot grow ({reason}): free some space on its disk")
    return ClusterError(
        f"MLflow's database {file} is damaged ({reason}): put a copy in its place, or move it away to start a new one"
    )


def _about_server(said: str, uri: str) -> Exception:
    where = shown(uri)
    if status := re.search(r"failed with error code (\d+)|too many (\d+) error responses", said):
        return _about_status(int(status[1] or status[2]), where)
    if "not in a valid JSON format" in said or "INTERNAL_ERROR: Response" in said:
        return ClusterError(f"{where} is not an MLflow server (its answer is none of MLflow's): correct {VARIABLE}")
    if re.search(r"timed? ?out|timeout", said, re.IGNORECASE):
        return no_answer(uri)
    if "certificate" in said.lower():
        return ClusterError(
            f"the certificate of the MLflow server {where} cannot be verified: set MLFLOW_TRACKING_SERVER_CERT_PATH to "
            "that of its authority"
        )
    causes = re.findall(r"\[Errno -?\d+\] ([\w ]+)|(Name or service not known|Failed to resolve|SSL|refused)", said)
    reason = next((one or other for one, other in reversed(causes)), said[:200])
    return ClusterError(f"no MLflow server answers at {where} ({reason}): start it, or correct {VARIABLE}")


def _about_status(code: int, where: str) -> Exception:
    if code == HTTPStatus.UNAUTHORIZED:
        return ClusterError(
            f"the MLflow server {where} asks for a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN"
        )
    if code == HTTPStatus.FORBIDDEN:
        return ClusterError(f"the MLflow server {where} refuses this account or its own name (403): ask who runs it")
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR or code == HTTPStatus.TOO_MANY_REQUESTS:
        return ClusterError(f"the MLflow server {where} answers with error {code}: look at its log, or try again")
    return ClusterError(f"{where} is not an MLflow server (it answers {code}): correct {VARIABLE}")


def _about_database(said: str, uri: str, name: str) -> Exception:
    where = shown(uri)
    if re.search(r"Could not parse|load plugin|Invalid database URI|[Uu]nsupported", said):
        return UserError(
            f"{name} is {where}, an address that MLflow does not know: set it to the address of a server "
            "(http://...) or to a database (sqlite:///FILE.db)"
        )
    return ClusterError(f"MLflow's database {where} fails ({_database_reason(said)}): start it, or correct {name}")


def no_answer(uri: str, name: str = VARIABLE) -> ClusterError:
    """Return the error about a store that has said nothing for too long; `name` is where its address was given."""
    return ClusterError(f"MLflow's store {shown(uri)} does not answer: start it, or correct {name}")


def _database_reason(said: str) -> str:
    # SQLAlchemy: (driver.Error) reason [SQL: ...] (Background on this error at: ...)
    text = re.sub(r"^(?:[\w.]+ )?\([\w.]+\) ", "", said)
    return re.split(r" \[SQL:| \(Background on this error| This probably means", text)[0][:200].rstrip(".")
