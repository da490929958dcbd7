"""Networks of a run in MLflow: logged models, the registered model with its versions, and who is champion.

Each step finds what an interrupted one of the same run has left, so that repeating all of them changes nothing.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric
    from mlflow.entities.model_registry import ModelVersion
    from torch import Tensor, nn

NETWORK = "network"
"""Name of the logged model that holds the exported network of the chosen checkpoint."""
ABOUT = (
    "Networks that marey has trained under this name. `marey predict models:/{name}@champion VIDEO` names the action "
    "in a video by the best of them, and `mlflow.pytorch.load_model('models:/{name}@champion')` loads it."
)
"""Description of a registered model."""
CANDIDATE, CHAMPION = "candidate", "champion"
"""Aliases: the version registered last, and the best of all on one dataset."""
VERSIONS = "mlflow.modelVersions"
"""Tag of a logged model that MLflow's pages find its registered version by."""
DIGEST = "dataset.digest"
"""Tag of a run and of a version: the dataset that it was trained and compared on."""

log = logging.getLogger(__name__)


def find_model(store: MlflowClient, run_id: str, name: str = NETWORK) -> LoggedModel | None:
    """Return a run's logged model of that name, the oldest if there are several; None where there is none."""
    experiment = store.get_run(run_id).info.experiment_id
    found = store.search_logged_models(
        [experiment],
        filter_string=f"source_run_id = '{run_id}' AND name = '{name}'",
        order_by=[{"field_name": "creation_timestamp", "ascending": True}],
        max_results=1,
    )
    return found[0] if found else None


def log_model(
    store: MlflowClient,
    run_id: str,
    name: str,
    save: Callable[[str, str], None],
    *,
    model_type: str | None = None,
    params: Mapping[str, str] | None = None,
) -> LoggedModel:
    """Return a run's logged model of that name, made and filled where it is not there whole.

    Args:
        store: a client.
        run_id: the run.
        name: name of the logged model.
        save: called with a folder that it writes the model's files to, and the model's id.
        model_type: kind of model that MLflow shows.
        params: settings that MLflow shows.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    source = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "marey"}

    logged = find_model(store, run_id, name)
    if logged is None:
        experiment = store.get_run(run_id).info.experiment_id
        store.create_logged_model(experiment, name, run_id, source, dict(params or {}), model_type)
        logged = find_model(store, run_id, name)
        assert logged is not None  # it has just been made
    outputs = store.get_run(run_id).outputs
    if logged.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
        store.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    if logged.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as scratch:
            save(scratch, logged.model_id)
            store.log_model_artifacts(logged.model_id, scratch)
        store.finalize_logged_model(logged.model_id, "READY")
    return logged


def export(network: nn.Module, example: Tensor, run_id: str) -> Callable[[str, str], None]:
    """Return what `log_model` saves a network with: a `torch.export` program, no pickle.

    Args:
        network: in eval mode, on the CPU.
        example: clips [2, C, T, H, W]; the batch size stays free, the other sizes are fixed.
        run_id: the run.
    """
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    def save(folder: str, model_id: str) -> None:
        with torch.no_grad():
            logits = network(example)
        float32 = np.dtype("float32")
        signature = ModelSignature(
            inputs=Schema([TensorSpec(float32, (-1, *example.shape[1:]), "clip")]),
            outputs=Schema([TensorSpec(float32, (-1, *logits.shape[1:]), "logits")]),
        )
        # Not log_model, which works on the process's one tracking URI and active run.
        mlflow.pytorch.save_model(
            network,
            folder,
            mlflow_model=Model(artifact_path=NETWORK, run_id=run_id, model_id=model_id),
            input_example=example,
            signature=signature,
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],  # guessing them takes seconds
        )

    return save


def tie(store: MlflowClient, run_id: str, model_id: str, metrics: Sequence[Metric], dataset: tuple[str, str]) -> None:
    """Tie points of a run to a logged model and to the dataset that they were measured on.

    Args:
        store: a client.
        run_id: the run.
        model_id: the logged model.
        metrics: the points; those that the run has with the same time are not doubled there.
        dataset: name and digest of the dataset; MLflow keeps 36 characters of the digest.
    """
    from mlflow.entities import Metric

    name, digest = dataset
    tied = [
        Metric(point.key, point.value, point.timestamp, point.step, model_id, name, digest[:32], run_id)
        for point in metrics
    ]
    store.log_batch(run_id, metrics=tied)


def register(store: MlflowClient, name: str, run_id: str, logged: LoggedModel) -> ModelVersion:
    """Return the version of a registered model that holds a run's network, registered where it is not; a candidate."""
    from mlflow.exceptions import MlflowException

    try:
        store.create_registered_model(name, description=ABOUT.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = _versions(store, name, run_id)
    if not found:
        store.create_model_version(name, logged.artifact_location, run_id, model_id=logged.model_id)
        found = _versions(store, name, run_id)
    version, *again = found
    for other in again:  # of a request that arrived twice
        store.delete_model_version(name, other.version)
    store.set_logged_model_tags(
        logged.model_id, {VERSIONS: json.dumps([{"name": name, "version": int(version.version)}])}
    )
    aliases = store.get_registered_model(name).aliases
    if int(aliases.get(CANDIDATE, 0)) < int(version.version):
        store.set_registered_model_alias(name, CANDIDATE, version.version)
    return version


def _versions(store: MlflowClient, name: str, run_id: str) -> list[ModelVersion]:
    found = store.search_model_versions(f"name = '{name}' AND run_id = '{run_id}'")
    return sorted(found, key=lambda version: int(version.version))


def version_of(store: MlflowClient, name: str, run_id: str) -> ModelVersion:
    """Return the version of a registered model that holds a run's network.

    Raises:
        UserError: there is none any more.
    """
    found = _versions(store, name, run_id)
    if not found:
        raise UserError(
            f"the model {name} has no version of run {run_id}, which was deleted: restore it in MLflow, or train under "
            "another name"
        )
    return found[0]


def crown(store: MlflowClient, version: ModelVersion, metric: str, value: float, digest: str) -> bool:
    """Make a version the champion if it is better than the one that is; return whether it is now.

    A champion of another dataset, or without that metric, cannot be compared and stays.

    Args:
        store: a client.
        version: the version.
        metric: name of the metric, of which more is better.
        value: its value.
        digest: digest of the dataset that it was measured on.
    """
    name, number = version.name, str(version.version)
    for key, text in ((metric, f"{value:.10g}"), (DIGEST, digest)):
        store.set_model_version_tag(name, number, key, text)
    holder = store.get_registered_model(name).aliases.get(CHAMPION)
    if str(holder) == number:
        return True
    if holder is not None:
        tags: dict[str, Any] = store.get_model_version(name, holder).tags
        if tags.get(DIGEST) != digest or metric not in tags:
            log.info(
                "champion of model %s stays version %s: it was not measured by %s on the same videos",
                *(name, holder, metric),
            )
            return False
        if float(tags[metric]) >= value:
            return False
    store.set_registered_model_alias(name, CHAMPION, number)
    return True
