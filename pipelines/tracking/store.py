"""MLflow's store: the client that all of marey uses, and the check that it answers before anything is computed."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.environment import variables_set
from cluster.errors import ClusterError
from cluster.waiting import waiting
from pipelines.errors import UserError
from pipelines.tracking import run_list, schema
from pipelines.tracking.address import VARIABLE, database_file, shown, tracking_uri
from pipelines.tracking.failures import no_answer, one_line
from pipelines.tracking.workspace import make_file, make_folder, make_workspace, shared
from tasks.data import storage
from tasks.remote import LateError, within, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

T = TypeVar("T")

EXPERIMENT = "marey"
ANSWER_SECONDS = 6
"""Time that a server has for its first answer; MLflow itself would ask for four minutes."""
MAKING_SECONDS = 120.0
"""Time that another process has to make the database; it takes seconds."""

_answered: set[str] = set()
"""Stores that have answered this process once: from then on more patience is right."""


def experiment_name(named: str | None = None) -> str:
    """Return the experiment that a recipe names, else MLFLOW_EXPERIMENT_NAME, else our own."""
    return named or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def prepare_environment(environment: MutableMapping[str, str]) -> None:
    """Set what MLflow reads in a process of ours: it loads no pickle, calls nobody, draws no bars."""
    if os.path.expanduser("~") == "~":  # an account without a name and HOME, without which MLflow cannot be imported
        environment["HOME"] = "/"  # as containers have it
    environment.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    environment.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it delays every start on a machine without internet
    environment.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each folder
    environment.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # at each end of a run on a server
    environment.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")  # half a minute; MLflow itself tries for four


def client(uri: str) -> MlflowClient:
    """Return a client, whose failures take one line; importing MLflow takes about a second.

    Raises:
        UserError, ClusterError: as its methods do, see `failures.one_line`.
    """
    with one_line(uri):
        return _client_class()(uri)


@functools.cache
def _client_class() -> type[MlflowClient]:
    prepare_environment(os.environ)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # after the import, which sets them to INFO
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # writes tracebacks of what it raises

    class Client(MlflowClient):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name.startswith("_") or not callable(value):
                return value

            @functools.wraps(value)
            def call(*args: Any, **kwargs: Any) -> Any:
                with one_line(self._tracking_client.tracking_uri):
                    return value(*args, **kwargs)

            return call

    return Client


def open_store(workspace: str | Path, experiment: str | None = None) -> str:
    """Return the address of a store that runs can be written to, in a workspace that can be written.

    Makes workspace, database and experiment where they are missing. Drivers call it before they start Ray.

    Args:
        workspace: path or URL.
        experiment: as a recipe names it.

    Raises:
        UserError: the workspace or the store is set up wrongly, or the experiment has been deleted.
        ClusterError: the store does not answer, is locked or damaged.
    """
    uri = tracking_uri(workspace)
    make_workspace(workspace)
    experiment_id(uri, workspace, experiment)
    return uri


def read_store(workspace: str | Path) -> str:
    """Return the address of a store that answers; a database that does not exist is not made.

    Raises:
        UserError: the store is set up wrongly.
        ClusterError: the store does not answer, is locked or damaged.
    """
    uri = tracking_uri(workspace)
    file = database_file(uri)
    if file is None or file.exists():
        with _alone(file):
            _ask(uri, experiment_name(), write=False)
    return uri


def refuse_silent(uri: str) -> None:
    """Raise an error where a server or a database of one cannot be read from this machine, with its login.

    Raises:
        UserError: the store is set up wrongly.
        ClusterError: the store does not answer, or refuses.
    """
    prepare_environment(os.environ)
    _ask(uri, experiment_name(), write=False)


def server_answers(uri: str) -> bool:
    """Return whether a server takes the login in this process's variables; asks without MLflow, which loads seconds.

    What it does not answer is for `refuse_silent` to find out: MLflow knows other logins, and proxies.
    """
    if not uri.startswith(("http://", "https://")):
        return False
    import requests

    user, password, token = (
        os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD", "TOKEN")
    )
    try:
        answer = requests.get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/get-by-name",
            {"experiment_name": experiment_name()},
            auth=(user, password) if user else None,
            headers={"Authorization": f"Bearer {token}"} if token and not user else {},
            timeout=ANSWER_SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException:
        return False
    return answer.status_code in (HTTPStatus.OK, HTTPStatus.NOT_FOUND)  # an experiment there, or none


def open_database(uri: str, name: str) -> None:
    """Make the file of a server's database where there is none; raise an error where the database does not serve.

    Args:
        uri: its address.
        name: where the address was given.

    Raises:
        UserError: it is another program's or another MLflow's, its folder or its driver is missing.
        ClusterError: it does not answer, is locked or damaged.
    """
    file = database_file(uri)
    if file:
        if not file.parent.is_dir():
            raise UserError(f"{file.parent}, the folder of the database in {name}, does not exist: make it")
        with _alone(file):
            make_file(file, tighten=False)
    _client_class()  # its import takes longer than the answer
    kinds = (schema.RUNS, schema.ACCOUNTS)
    _within(ANSWER_SECONDS, lambda: schema.refuse_unfit(uri, write=True, name=name, kinds=kinds), uri, name)


def outdated(uri: str, name: str) -> list[schema.Tables]:
    """Return the tables of a server's database that are of an older MLflow.

    Args and errors are those of `open_database`; nothing is made.
    """
    _client_class()
    return _within(ANSWER_SECONDS, lambda: schema.outdated(uri, write=True, name=name), uri, name)


def experiment_id(uri: str, workspace: str | Path, named: str | None = None) -> str:
    """Return the id of an experiment, of ours by default; it and the database are made where they are missing.

    Raises:
        UserError: the store is set up wrongly, or the experiment has been deleted.
        ClusterError: the store does not answer, is locked or damaged.
    """
    file = database_file(uri)
    if file:
        make_folder(file.parent, Path(workspace))
    with waiting(f"MLflow ({shown(uri)})"):
        _client_class()  # its import takes longer than anything below, and others may wait
        with _alone(file):
            if file:
                make_file(file, tighten=file.is_relative_to(Path(workspace).resolve()))
            name = experiment_name(named)
            experiment = _ask(uri, name, write=True) or _make_experiment(uri, name, workspace)
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {experiment.name} has been deleted in {shown(uri)}: restore it (`{VARIABLE}="
            f"{without_credentials(uri)} mlflow experiments restore --experiment-id {experiment.experiment_id}`), or "
            f"name another in {'the recipe' if named else 'MLFLOW_EXPERIMENT_NAME'}"
        )
    run_list.set_columns(client(uri), experiment)
    return str(experiment.experiment_id)


def _make_experiment(uri: str, name: str, workspace: str | Path) -> Experiment:
    from mlflow.exceptions import MlflowException

    store, place = client(uri), None
    if not uri.startswith(("http://", "https://", "databricks")):
        # A database leaves artifacts in ./mlruns unless told; a server knows its own place.
        if storage.is_local(str(workspace)):
            place = make_folder(Path(workspace).resolve() / "mlartifacts", Path(workspace)).as_uri()
        else:
            place = storage.join(str(workspace), "mlartifacts")
    try:
        return store.get_experiment(store.create_experiment(name, artifact_location=place, tags=run_list.first_tags()))
    except MlflowException as error:
        made = store.get_experiment_by_name(name)  # by another driver, at the same time
        if made is None:
            raise UserError(f"the MLflow experiment {name!r} cannot be made: {error.message}") from error
        return made


def _ask(uri: str, name: str, *, write: bool) -> Experiment | None:
    """Return an experiment, None where there is none; a store that has not answered yet has seconds for it."""
    file, web = database_file(uri), uri.startswith(("http://", "https://"))
    if uri not in _answered and not web and not uri.startswith("databricks"):
        if file:
            schema.refuse_unfit(uri, write=write)
        else:
            _within(ANSWER_SECONDS, lambda: schema.refuse_unfit(uri, write=write), uri)

    store = client(uri)  # which imports what it needs, in seconds on a busy machine

    def ask() -> Experiment | None:
        return store.get_experiment_by_name(name)

    if uri in _answered or not web:
        experiment = ask()
    else:
        with _impatient():
            experiment = _within(ANSWER_SECONDS, ask, uri)
    if experiment is not None and not experiment.experiment_id:
        raise ClusterError(f"{shown(uri)} is not an MLflow server: correct {VARIABLE}")
    _answered.add(uri)
    return experiment


def _alone(file: Path | None) -> AbstractContextManager[Any]:
    """Keep other processes of ours away from a database file: two that make it at once destroy each other's tables."""
    if file is None or not os.access(file.parent, os.W_OK):
        return nullcontext()
    from filelock import FileLock, Timeout

    lock = FileLock(f"{file}.lock", timeout=MAKING_SECONDS, mode=0o660 if shared(file.parent) else 0o600)

    @contextmanager
    def held() -> Iterator[None]:
        try:
            lock.acquire()
        except Timeout as error:
            raise ClusterError(f"another process holds {lock.lock_file}: end it, or try again") from error
        except OSError as error:
            raise UserError(f"{lock.lock_file} cannot be written: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    return held()


def _impatient() -> AbstractContextManager[None]:
    """Let MLflow ask a server once, and wait seconds for the answer."""
    return variables_set({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER_SECONDS)})


def _within(seconds: float, call: Callable[[], T], uri: str, name: str = VARIABLE) -> T:
    """Return the result of a call that may hang, such as in the resolution of a name.

    Raises:
        ClusterError: it has not ended in time; its thread is left to itself.
    """
    try:
        return within(seconds, call)
    except LateError as error:
        raise no_answer(uri, name) from error
