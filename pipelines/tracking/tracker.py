"""MLflow behind one class: the driver opens a run, rank 0 of a training logs its metrics, the driver ends it.

Everything goes through `MlflowClient` and an explicit run id, so that drivers, workers and trials never share state.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cluster.errors import ClusterError
from pipelines.errors import UserError, user_error
from pipelines.tracking import registry
from pipelines.tracking.address import database_file, shown, tracking_uri
from pipelines.tracking.open_run import command, open_run
from pipelines.tracking.results_table import with_results
from pipelines.tracking.revision import git_tags
from pipelines.tracking.run_list import page_of
from pipelines.tracking.store import client, experiment_id, experiment_name
from tasks.remote import without_credentials

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from torch import Tensor, nn

BATCH = 100
"""Most parameters or tags per request to MLflow."""
VALUE_LENGTH = 6000
"""Most characters of a parameter that MLflow stores; the recipe is an artifact as well, so nothing is lost."""
NOTE = "mlflow.note.content"
"""Tag that holds the description of a run."""
PART = re.compile(r"\w(?:[\w.-]*\w)?", re.ASCII)
"""Part of a parameter's name; MLflow refuses others, such as patterns of `train.lr_factors`."""
log = logging.getLogger(__name__)


def refuse_shared_sqlite(uri: str, machines: int) -> None:
    """Raise UserError where workers on several machines would write to one SQLite file."""
    if (file := database_file(uri)) and machines > 1:
        raise UserError(
            f"the cluster has {machines} machines, and MLflow's database is a file on this one ({file}): start a "
            f"server (`marey mlflow-server`) and set MLFLOW_TRACKING_URI to it"
        )


def runs_page(uri: str) -> str:
    """Return the path of the page of all our runs."""
    experiment = client(uri).get_experiment_by_name(experiment_name())
    return page_of(experiment.experiment_id, experiment.tags) if experiment else page_of(None, {})


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested settings into parameters such as `train.lr`; a mapping whose keys no name may hold stays whole."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and all(PART.fullmatch(str(inner)) for inner in value):
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

    @classmethod
    def start(
        cls,
        workspace: str | Path,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        key: str | None = None,
        parent_run_id: str | None = None,
        run_id: str | None = None,
        experiment: str | None = None,
    ) -> Tracker:
        """Open a run in the driver.

        Args:
            workspace: what holds database and artifacts where MLFLOW_TRACKING_URI names no server.
            name: name of the run.
            params: nested settings, logged flattened.
            tags: tags to set beside the commit of this code.
            key: key of the run's folder; with it, a run that an interrupted start has made is taken up.
            parent_run_id: sweep that this run is a trial of.
            run_id: interrupted run to resume; it keeps its parameters.
            experiment: the run's experiment as a recipe names it; None for the one that all runs go to.

        Raises:
            UserError, ClusterError: as `open_store`, or the run is gone.
        """
        uri = tracking_uri(workspace)
        place = experiment_id(uri, workspace, experiment)
        if run_id is None:
            found = open_run(client(uri), place, name, key, parent_run_id)
            tracker = cls(uri, str(found.info.run_id))
            tracker.log_params(params, known=found.data.params)
        else:
            tracker = cls(uri, run_id)
            tracker._reopen(name)
        tracker.set_tags({**git_tags(), **command(), **tags})
        return tracker

    def _reopen(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.update_run(self.run_id, status="RUNNING")
            self._forget_error()
        except MlflowException as error:
            raise UserError(
                f"{name} was started before as MLflow run {self.run_id}, which {shown(self.uri)} no longer holds: "
                "choose another name, restore the run in MLflow, or delete the folder of that name in the workspace"
            ) from error

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log one point of several metrics; what a training logs as it goes takes the way of `Outbox`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(key, float(value), now, step) for key, value in values.items()]
        self._client.log_batch(self.run_id, metrics=points)

    def log_constants(self, values: Mapping[str, float]) -> None:
        """Log metrics that do not change with the steps, but for those that the run has."""
        known = self._client.get_run(self.run_id).data.metrics
        self.log_metrics({key: value for key, value in values.items() if key not in known}, step=0)

    def log_params(self, tree: Mapping[str, Any], *, known: Mapping[str, str] | None = None) -> None:
        """Log nested settings as flattened parameters, but for those that the run has: MLflow lets none be changed."""
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in flatten(tree).items() if key not in (known or {})]
        for first in range(0, len(params), BATCH):
            self._client.log_batch(self.run_id, params=params[first : first + BATCH])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing earlier ones of the same name."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def set_note(self, markdown: str) -> None:
        """Set the description at the head of the run's page."""
        self.set_tags({NOTE: markdown})

    def note_results(self, results: Mapping[str, Mapping[str, float]]) -> None:
        """Put rows into the table of the run's description; see `with_results`."""
        self.set_note(with_results(self._client.get_run(self.run_id).data.tags.get(NOTE, ""), results))

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

    def read_points(self, names: Iterable[str] | None = None) -> dict[str, list[Metric]]:
        """Return the points of metrics in order of step and time: of all but the system metrics, or of those named."""
        keys = names or [key for key in self._client.get_run(self.run_id).data.metrics if not key.startswith("system/")]
        points = {key: self._client.get_metric_history(self.run_id, key) for key in sorted(keys)}
        return {key: sorted(line, key=lambda point: (point.step, point.timestamp)) for key, line in points.items()}

    def read_history(self) -> dict[str, list[tuple[int, float]]]:
        """Return every metric except the system metrics as (step, value) points in order of step."""
        return {key: [(point.step, point.value) for point in line] for key, line in self.read_points().items()}

    def log_model(
        self,
        network: nn.Module,
        example: Tensor,
        name: str,
        *,
        model_type: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> str:
        """Log the network as a `torch.export` program (no pickle) and register it, once; return its version.

        Args:
            network: in eval mode, on the CPU.
            example: clips [2, C, T, H, W]; the batch size stays free, the other sizes are fixed.
            name: name of the registered model, whose alias `candidate` moves to the new version.
            model_type: kind of model that MLflow shows.
            params: nested settings that MLflow shows.
        """
        save = registry.export(network, example, self.run_id)
        logged = registry.log_model(
            self._client, self.run_id, registry.NETWORK, save, model_type=model_type, params=flatten(params or {})
        )
        return str(registry.register(self._client, name, self.run_id, logged).version)

    def log_checkpoint(self, name: str, files: Sequence[Path], *, model_type: str, params: Mapping[str, Any]) -> None:
        """Log the files of a checkpoint as a model of the run, once; kind and settings as in `log_model`."""

        def save(folder: str, model_id: str) -> None:
            for file in files:
                shutil.copy(file, folder)

        registry.log_model(self._client, self.run_id, name, save, model_type=model_type, params=flatten(params))

    def tie_metrics(self, model: str, metrics: Sequence[Metric], dataset: str, digest: str) -> None:
        """Tie points to a model of the run, if it has been logged, and to the dataset that they were measured on."""
        logged = registry.find_model(self._client, self.run_id, model)
        if logged is not None and metrics:
            place = Path(without_credentials(dataset)).name
            registry.tie(self._client, self.run_id, logged.model_id, metrics, (place, digest))

    def crown(self, name: str, metric: str, value: float, digest: str) -> bool:
        """Make the run's version of a registered model the champion if it is better; see `registry.crown`."""
        return registry.crown(self._client, registry.version_of(self._client, name, self.run_id), metric, value, digest)

    def describe_version(self, name: str, text: str) -> str:
        """Describe the run's version of a registered model; return its `models:/NAME/VERSION`.

        Raises:
            UserError: there is none any more.
        """
        version = registry.version_of(self._client, name, self.run_id)
        self._client.update_model_version(version.name, version.version, text)
        return f"models:/{version.name}/{version.version}"

    def started(self) -> float:
        """Return when the run was made, in seconds since 1970."""
        return float(self._client.get_run(self.run_id).info.start_time) / 1000

    def is_running(self) -> bool:
        """Return whether nobody has ended the run."""
        return bool(self._client.get_run(self.run_id).info.status == "RUNNING")

    def mark_finished(self) -> None:
        """End the run as FINISHED: its process was stopped on purpose, whatever status that process set as it ended.

        One that is FINISHED keeps the time at which it was: MLflow's list shows how long a run took.
        """
        self._forget_error()
        if self._client.get_run(self.run_id).info.status != "FINISHED":
            self.end("FINISHED")

    def _forget_error(self) -> None:
        if "error" in self._client.get_run(self.run_id).data.tags:
            self._client.delete_tag(self.run_id, "error")

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
            return
        try:
            if isinstance(error, Exception):
                reason = user_error(error) or error
                self.set_tags({"error": without_credentials(f"{type(reason).__name__}: {reason}")[-VALUE_LENGTH:]})
                self.end("FAILED")
            elif self.is_running():  # KeyboardInterrupt, SystemExit; not where a sweep has ended its trial's run
                self.end("KILLED")
        except ClusterError as failure:  # must not hide the error that ended the block
            log.warning("MLflow still shows run %s as running: %s", self.run_id, failure)
