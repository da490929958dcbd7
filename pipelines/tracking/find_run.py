"""What a RUN on the command line may be: a run id, a run name, `models:/name@alias`, `models:/name/3`, a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from pipelines.errors import UserError, did_you_mean
from pipelines.places import CHECKPOINT_DOCUMENT, is_checkpoint
from pipelines.tracking.address import database_file, tracking_uri
from pipelines.tracking.copies import fetch_folder
from pipelines.tracking.run_folder import RunFolder
from pipelines.tracking.store import client, read_store
from pipelines.tracking.workspace import local_folder, make_folder, workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run, RunInfo

    from models.common.network import Network
    from tasks.learn import Identity

CHECKPOINT = "checkpoint"
"""Folder of a run's artifacts that holds its chosen checkpoint."""
RECIPE = "recipe.yaml"
"""Artifact with a run's resolved recipe."""


@dataclass(frozen=True)
class ResolvedRun:
    """A trained network and, where it is tracked, its MLflow run."""

    run_id: str | None
    name: str
    checkpoint: Path


def resolve(run: str) -> ResolvedRun:
    """Find a trained network.

    Raises:
        UserError: no run has that name, or several of which none is of this workspace; or the run has no checkpoint.
        ClusterError: MLflow's store fails.
    """
    if "://" in run:
        return _from_folder(fetch_folder(run.rstrip("/"), CHECKPOINT_DOCUMENT))
    folder = Path(run)
    if is_checkpoint(folder) or ("/" in run and folder.is_dir()):
        return _from_folder(folder)
    return _resolved(find_run(run), tracking_uri(workspace()))


def download_recipe(run: Run, folder: str) -> Path:
    """Copy a run's recipe into a folder; return its file.

    Raises:
        UserError: it has none.
    """
    from mlflow.exceptions import MlflowException

    try:
        return Path(client(tracking_uri(workspace())).download_artifacts(run.info.run_id, RECIPE, folder))
    except (MlflowException, FileNotFoundError) as error:
        name = run.info.run_name
        raise UserError(f"run {name} has no {RECIPE} in MLflow: only trainings can be repeated") from error


def _store_with_runs(run: str) -> str:
    uri = read_store(workspace())
    if (file := database_file(uri)) and not file.exists():
        raise UserError(f"there is no run {run!r}: {workspace()} holds no runs yet; `marey train` makes one")
    return uri


def load_network(identity: Identity, checkpoint: Path) -> Network:
    """Return the network of a checkpoint on the CPU, in eval mode."""
    from models import build
    from tasks.learn import load_weights

    network = build(identity.model, len(identity.classes), stream=identity.stream, **identity.options)
    load_weights(checkpoint, network)
    return network.eval()


def _from_folder(folder: Path) -> ResolvedRun:
    from tasks.learn.checkpoint import read_identity

    identity = read_identity(folder)
    return ResolvedRun(identity.run_id, folder.resolve().name, folder.resolve())


def _find_in_registry(reference: str, uri: str) -> Run:
    from mlflow.exceptions import MlflowException

    store = client(uri)
    path = reference.removeprefix("models:/")
    name, at, alias = path.partition("@")
    if not at:
        name, _, number = path.rpartition("/")
    names = [model.name for model in store.search_registered_models()]
    if name not in names:
        raise UserError(
            f"{reference} is not a registered model (models:/NAME@ALIAS or models:/NAME/VERSION)"
            f"{did_you_mean(name or path, names)}"
        )
    try:
        version = store.get_model_version_by_alias(name, alias) if at else store.get_model_version(name, number)
    except MlflowException as error:
        model = store.get_registered_model(name)
        raise UserError(
            f"model {name!r} has no {f'alias {alias!r}' if at else f'version {number!r}'}; "
            f"its aliases: {', '.join(sorted(model.aliases)) or 'none'}"
        ) from error
    if not version.run_id:
        raise UserError(
            f"{reference} was registered without a run: only models registered by `marey train` can be used"
        )
    return _find(version.run_id, uri)


def find_run(run: str) -> Run:
    """Return a run of MLflow by its id, its name or a registered model of it; it need not be trained.

    Raises:
        UserError: no run has that name, or several of which none is of this workspace.
        ClusterError: MLflow's store fails.
    """
    uri = _store_with_runs(run)
    return _find_in_registry(run, uri) if run.startswith("models:/") else _find(run, uri)


def _find(run: str, uri: str) -> Run:
    from mlflow.exceptions import MlflowException

    store = client(uri)
    try:
        return store.get_run(run)
    except MlflowException:
        experiments = [experiment.experiment_id for experiment in store.search_experiments()]
        # A sweep often has the name of the recipe that it varies, but holds no network itself.
        every = [
            one for one in store.search_runs(experiments, max_results=10_000) if one.data.tags.get("sweep") != "parent"
        ]
    found = [one for one in every if one.info.run_name == run]
    if not found:
        names = sorted({one.info.run_name for one in every})
        raise UserError(
            f"there is no run {run!r} (a run's id or name, models:/NAME@ALIAS or a checkpoint folder)"
            f"{did_you_mean(run, names)}"
        )
    if len(found) > 1 and "/" not in run:
        state = RunFolder.of(run).read_state()
        found = [one for one in found if state and one.info.run_id == state.run_id] or found
    if len(found) > 1:
        ids = ", ".join(one.info.run_id for one in found[:5])
        raise UserError(f"{len(found)} runs are named {run!r}: give the id of one ({ids})")
    return found[0]


def _resolved(found: Run, uri: str) -> ResolvedRun:
    from mlflow.exceptions import MlflowException

    store, info = client(uri), found.info
    try:
        files = store.list_artifacts(info.run_id, CHECKPOINT)
    except MlflowException as error:
        raise UserError(f"the files of run {info.run_name!r} cannot be listed: {error.message}") from error
    if not files:
        raise UserError(
            f"run {info.run_name!r} has no checkpoint, its status is {info.status}: "
            "`marey train` with the same recipe resumes it"
        )
    return ResolvedRun(info.run_id, info.run_name, _local(store, info))


def _local(store: MlflowClient, info: RunInfo) -> Path:
    """Return the run's checkpoint on this machine, downloaded once where it lies on a server."""
    uri = urlparse(info.artifact_uri)
    if uri.scheme == "file":
        return Path(url2pathname(uri.path)) / CHECKPOINT
    place: Path = local_folder() / "downloads" / info.run_id
    if not (place / CHECKPOINT).exists():
        make_folder(place)
        store.download_artifacts(info.run_id, CHECKPOINT, str(place))
    return place / CHECKPOINT
