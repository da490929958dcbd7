"""MLflow behind one class: the driver opens a run, rank 0 of a training logs its metrics, the driver ends it.

Everything goes through `MlflowClient` and an explicit run id, so that drivers, workers and trials never share state.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError, user_error
from pipelines.tracking.address import database_file, shown, tracking_uri
from pipelines.tracking.revision import git_tags
from pipelines.tracking.store import client, experiment_id, experiment_name
from tasks.remote import without_credentials

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 100
"""Most parameters or tags per request to MLflow."""
VALUE_LENGTH = 6000
"""Most characters of a parameter that MLflow stores; the recipe is an artifact as well, so nothing is lost."""
SYSTEM_SECONDS = 5
"""Seconds between two samples of CPU, memory, disk, network and GPU."""


def refuse_shared_sqlite(uri: str, machines: int) -> None:
    """Raise UserError where workers on several machines would write to one SQLite file."""
    if (file := database_file(uri)) and machines > 1:
        raise UserError(
            f"the cluster has {machines} machines, and MLflow's database is a file on this one ({file}): start a "
            f"server (`mlflow server`) and set MLFLOW_TRACKING_URI to it"
        )


def runs_page(uri: str) -> str:
    """Return the path of the page of all our runs; MLflow would open on its pages about language models."""
    experiment = client(uri).get_experiment_by_name(experiment_name())
    where = f"/{experiment.experiment_id}/runs" if experiment else ""
    return f"/#/experiments{where}?workflowType=machine_learning"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested settings into parameters such as `train.lr`."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = without_credentials(str(value))[:VALUE_LENGTH]
    return flat


class Tracker:
    """One MLflow run. As a context manager it ends the run: FINISHED, FAILED, or KILLED where it was interrupted."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri = uri
        self.run_id = run_id
        self._client = client(uri)
        self._last_step: dict[str, int] = {}
        self._monitor: Any = None

    @classmethod
    def start(
        cls,
        workspace: str | Path,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent_run_id: str | None = None,
        run_id: str | None = None,
    ) -> Tracker:
        """Open a run in the driver.

        Args:
            workspace: what holds database and artifacts where MLFLOW_TRACKING_URI names no server.
            name: name of the run.
            params: nested settings, logged flattened.
            tags: tags to set beside the commit of this code.
            parent_run_id: sweep that this run is a trial of.
            run_id: interrupted run to resume; it keeps its parameters.

        Raises:
            UserError, ClusterError: as `open_store`, or the run is gone.
        """
        uri = tracking_uri(workspace)
        experiment = experiment_id(uri, workspace)
        if run_id is None:
            run_id = _create_run(uri, experiment, name, parent_run_id)
            tracker = cls(uri, run_id)
            tracker.log_params(params)
        else:
            tracker = cls(uri, run_id)
            tracker._reopen(name)
        tracker.set_tags({**git_tags(), **tags})
        return tracker

    @classmethod
    def attach(cls, uri: str, run_id: str, *, system_metrics: bool = False) -> Tracker:
        """Resume logging to a run from another process; points that it has already are not logged again."""
        tracker = cls(uri, run_id)
        logged = tracker._client.get_run(run_id).data.to_proto().metrics
        tracker._last_step = {metric.key: metric.step for metric in logged}
        if system_metrics:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            tracker._monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                run_id, sampling_interval=SYSTEM_SECONDS, resume_logging=True, tracking_uri=uri
            )
            tracker._monitor.start()
        return tracker

    def _reopen(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.update_run(self.run_id, status="RUNNING")
        except MlflowException as error:
            raise UserError(
                f"{name} was started before as MLflow run {self.run_id}, which {shown(self.uri)} no longer holds: "
                "choose another name, restore the run in MLflow, or delete the folder of that name in the workspace"
            ) from error

    def detach(self) -> None:
        """Stop logging system metrics, and leave the run open."""
        if self._monitor is not None:
            self._monitor.finish()

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one point of several metrics, except those that have one at this step or a later one.

        A training that restarts from a checkpoint repeats the steps since then, which were logged the first time.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        fresh = [key for key in values if step > self._last_step.get(key, -1)]
        self._client.log_batch(self.run_id, metrics=[Metric(key, float(values[key]), now, step) for key in fresh])
        self._last_step.update(dict.fromkeys(fresh, step))

    def log_params(self, tree: Mapping[str, Any]) -> None:
        """Log nested settings as flattened parameters."""
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in flatten(tree).items()]
        for first in range(0, len(params), BATCH):
            self._client.log_batch(self.run_id, params=params[first : first + BATCH])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing earlier ones of the same name."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def set_note(self, markdown: str) -> None:
        """Set the description at the head of the run's page."""
        self.set_tags({"mlflow.note.content": markdown})

    def log_dataset(self, uri: str, digest: str) -> None:
        """Log the dataset as the run's input; MLflow keeps 36 characters of a digest, the tag all 64."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        uri = without_credentials(uri)
        entity = Dataset(name=Path(uri).name, digest=digest[:32], source_type="local", source=uri)
        self._client.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])
        self.set_tags({"dataset.digest": digest, "dataset.uri": uri})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder, under `folder` of the run's artifacts."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), folder)
        else:
            self._client.log_artifact(self.run_id, str(path), folder)

    def read_history(self) -> dict[str, list[tuple[int, float]]]:
        """Return every metric except the system metrics as (step, value) points in order of step."""
        keys = [key for key in self._client.get_run(self.run_id).data.metrics if not key.startswith("system/")]
        points = {key: self._client.get_metric_history(self.run_id, key) for key in sorted(keys)}
        return {key: sorted((point.step, point.value) for point in line) for key, line in points.items()}

    def log_model(self, network: nn.Module, example: Tensor, name: str, alias: str) -> str:
        """Log the network as a `torch.export` program (no pickle) and register it; return its version.

        Args:
            network: in eval mode, on the CPU.
            example: clips [2, C, T, H, W]; the batch size stays free, the other sizes are fixed.
            name: name of the registered model.
            alias: alias to move to the new version.
        """
        import mlflow.pytorch
        import numpy as np
        import torch
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        with torch.no_grad():
            logits = network(example)
        float32 = np.dtype("float32")
        signature = ModelSignature(
            inputs=Schema([TensorSpec(float32, (-1, *example.shape[1:]), "clip")]),
            outputs=Schema([TensorSpec(float32, (-1, *logits.shape[1:]), "logits")]),
        )
        # Step by step, because mlflow.pytorch.log_model works on the process's one tracking URI and active run.
        experiment = self._client.get_run(self.run_id).info.experiment_id
        logged = self._client.create_logged_model(experiment, "network", source_run_id=self.run_id)
        self._client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        with tempfile.TemporaryDirectory() as scratch:
            mlflow.pytorch.save_model(
                network,
                f"{scratch}/network",
                mlflow_model=Model(artifact_path="network", run_id=self.run_id, model_id=logged.model_id),
                input_example=example,
                signature=signature,
                serialization_format="pt2",
                pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],  # guessing them takes seconds
            )
            self._client.log_model_artifacts(logged.model_id, f"{scratch}/network")
        self._client.finalize_logged_model(logged.model_id, "READY")
        return self._register(name, alias, logged.artifact_location, logged.model_id)

    def _register(self, name: str, alias: str, source: str, model_id: str) -> str:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        version = str(self._client.create_model_version(name, source, self.run_id, model_id=model_id).version)
        self._client.set_registered_model_alias(name, alias, version)
        return version

    def describe_version(self, tags: Mapping[str, str]) -> str:
        """Set tags of the model version registered from this run; return its `models:/NAME/VERSION`."""
        (version,) = self._client.search_model_versions(f"run_id = '{self.run_id}'")
        for key, value in tags.items():
            self._client.set_model_version_tag(version.name, version.version, key, value)
        return f"models:/{version.name}/{version.version}"

    def is_running(self) -> bool:
        """Return whether nobody has ended the run."""
        return bool(self._client.get_run(self.run_id).info.status == "RUNNING")

    def mark_finished(self) -> None:
        """End the run as FINISHED: its process was stopped on purpose, whatever status that process set as it ended."""
        if "error" in self._client.get_run(self.run_id).data.tags:
            self._client.delete_tag(self.run_id, "error")
        self.end("FINISHED")

    def end(self, status: str) -> None:
        """Set the run's status: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end("FINISHED")
        elif isinstance(error, Exception):
            reason = user_error(error) or error
            self.set_tags({"error": without_credentials(f"{type(reason).__name__}: {reason}")[-VALUE_LENGTH:]})
            self.end("FAILED")
        else:  # KeyboardInterrupt, SystemExit by a signal
            self.end("KILLED")


def _create_run(uri: str, experiment: str, name: str, parent_run_id: str | None) -> str:
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "marey", "mlflow.user": _user_name()}
    if parent_run_id is not None:
        tags["mlflow.parentRunId"] = parent_run_id
    return str(client(uri).create_run(experiment, tags=tags, run_name=name).info.run_id)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        return f"uid {os.getuid()}"
