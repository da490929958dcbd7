"""The folders that a workspace keeps of runs, sweeps and averages: no other module knows the names of their files.

A folder's state shows a later start of the same name what it was started with, and its result once there is one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipelines.places import CHECKPOINT_DOCUMENT
from pipelines.tracking import outbox
from pipelines.tracking.copies import fetch_folder
from pipelines.tracking.folder import Folder
from pipelines.tracking.progress import ProgressFollower, ProgressWriter
from pipelines.tracking.state import StatefulFolder
from tasks.data import folders, storage

CHECKPOINT_NAME = re.compile(r"checkpoint-\d{8}")


class RunFolder(StatefulFolder):
    """The folder of a training: its state, checkpoints and evaluation, and what its processes tell one another."""

    kind = "run"
    parent = "runs"
    state_file = "run.json"
    _PROGRESS = "progress.jsonl"
    _RANK_0 = "rank-0.pid"
    _STOP = "stop"
    _CONTROLLER = "controller.txt"
    _RAYS_LIST = "checkpoint_manager_snapshot.json"
    _EVALUATION = "evaluation.json"
    _UNPUBLISHED = "unpublished.txt"
    _FAILURE = "failed.json"
    TRACE = "trace.json.gz"

    def checkpoint(self, name: str) -> Path:
        """Return the folder of a checkpoint on this machine, a copy where the workspace is at an address."""
        return fetch_folder(self.place(name), CHECKPOINT_DOCUMENT)

    def store_checkpoint(self, local: Path, name: str) -> None:
        """Store a finished checkpoint of this machine in a run that is at an address.

        Ray Train would copy it by `pyarrow.fs.copy_files`, which says nothing of a store that refuses (pyarrow 25).

        Raises:
            UserError: it cannot be written; no later start takes what has been written of it for a checkpoint.
        """
        storage.remove(storage.join(self.place(name), CHECKPOINT_DOCUMENT))
        folders.upload(local, self.place(name), last=CHECKPOINT_DOCUMENT)

    @staticmethod
    def checkpoint_name(step: int) -> str:
        """Return the name of the folder of the checkpoint after so many steps."""
        return f"checkpoint-{step:08d}"

    @staticmethod
    def checkpoint_step(name: str) -> int:
        """Return the steps that a checkpoint was made after."""
        return int(name.removeprefix("checkpoint-"))

    def checkpoint_names(self) -> list[str]:
        """Return the names of the run's checkpoints, the newest first; half a one in an object store is none."""
        local, found = storage.is_local(self.address), []
        for name, _ in storage.entries(self.address, missing_ok=True):
            if CHECKPOINT_NAME.fullmatch(name) and (
                local or storage.exists(storage.join(self.place(name), CHECKPOINT_DOCUMENT))
            ):
                found.append(name)
        return sorted(found, reverse=True)

    def read_checkpoint_document(self, name: str) -> bytes | None:
        """Return the document of a checkpoint, without its other files; None where it is missing."""
        return self.read(f"{name}/{CHECKPOINT_DOCUMENT}")

    def remove_checkpoint(self, name: str) -> None:
        """Remove a checkpoint, of which there is nothing to be seen as soon as this begins."""
        if storage.is_local(self.address):
            aside = Path(self.place(f".{name}.removed"))
            Path(self.place(name)).rename(aside)
            shutil.rmtree(aside)
        else:
            self.remove(f"{name}/{CHECKPOINT_DOCUMENT}")
            storage.remove_folder(self.place(name))

    def clear_remains(self) -> None:
        """Remove what an earlier start has left: half a checkpoint, and Ray Train's list of checkpoints.

        The folder itself shows which checkpoints there are; Ray's list may name some that have been removed.
        """
        self.remove(self._RAYS_LIST)
        if storage.is_local(self.address):
            for aside in Path(self.address).glob(".checkpoint-*"):
                shutil.rmtree(aside)

    def kept_checkpoints(self) -> dict[str, int]:
        """Return the folders of the checkpoints that are kept, with their steps."""
        return {name: self.checkpoint_step(name) for name in reversed(self.checkpoint_names())}

    @property
    def outbox(self) -> str:
        """Where metrics wait for MLflow."""
        return self.place(outbox.FOLDER)

    def write_unpublished(self) -> None:
        """Note that the training has ended, and MLflow has not got its result yet."""
        self.write(self._UNPUBLISHED, b"the same command of marey sends this run's result to MLflow\n")

    def is_unpublished(self) -> bool:
        """Return whether the training has ended, and MLflow has not got its result yet."""
        return self.read(self._UNPUBLISHED) is not None

    def clear_unpublished(self) -> None:
        """Note that MLflow has the result."""
        self.remove(self._UNPUBLISHED)

    def write_failure(self, reason: str) -> None:
        """Note that a trial of a sweep failed, of something that would come again."""
        self.write_json(self._FAILURE, {"reason": reason})

    def read_failure(self) -> str | None:
        """Return why a trial failed for good; None where it has not."""
        content = self.read_json(self._FAILURE)
        if content is None:
            return None
        if "reason" not in content:
            raise self.damaged(self._FAILURE, "fields are missing")
        return str(content["reason"])

    def write_progress(self) -> ProgressWriter:
        """Return a writer of the reports of rank 0, for the driver to show."""
        return ProgressWriter(self.progress)

    @property
    def progress(self) -> str:
        """Where the reports of rank 0 are."""
        return self.place(self._PROGRESS)

    def follow_progress(self) -> ProgressFollower:
        """Return a reader of the reports that come from now on."""
        return ProgressFollower(self.progress)

    def write_rank_0(self, pid: int) -> None:
        """Note the process of rank 0, for whoever wants to look into it; called there."""
        self.write(self._RANK_0, f"{pid}\n".encode())

    def ask_to_stop(self) -> None:
        """Ask the workers to end with a checkpoint."""
        self.write(self._STOP, b"")

    def is_asked_to_stop(self) -> bool:
        """Return whether the workers shall end with a checkpoint."""
        return self._read_text(self._STOP) is not None

    def clear_stop(self) -> None:
        """Forget that an earlier start was asked to stop."""
        self.remove(self._STOP)

    def write_controller(self, actor_id: str) -> None:
        """Note the id of the Ray Train controller; called in it."""
        self.write(self._CONTROLLER, actor_id.encode())

    def read_controller(self) -> str | None:
        """Return the id of the Ray Train controller; None where none has reported."""
        return self._read_text(self._CONTROLLER)

    def write_trace(self, content: bytes) -> None:
        """Keep a trace of some steps."""
        self.write(self.TRACE, content)

    def read_trace(self) -> bytes | None:
        """Return the trace of some steps; None where none were recorded."""
        return self.read(self.TRACE)

    def write_evaluation(self, content: Mapping[str, Any]) -> None:
        """Replace what `marey run` evaluated, and the result."""
        self.write_json(self._EVALUATION, content)

    def read_evaluation(self) -> dict[str, Any] | None:
        """Return what `marey run` evaluated, and the result; None where it has not."""
        content = self.read_json(self._EVALUATION)
        if content is None:
            return None
        kept = content.get("evaluation")
        if (
            "inputs" not in content
            or not isinstance(kept, dict)
            or not {"folder", "views", "score_space"} <= kept.keys()
        ):
            raise self.damaged(self._EVALUATION, "fields are missing")
        return content


class SweepFolder(StatefulFolder):
    """The folder of a sweep: its state, its trials, and the best recipe."""

    kind = "sweep"
    parent = "sweeps"
    state_file = "sweep.json"
    TRIALS = "trials.json"
    _BEST = "best.yaml"
    _LOG = "ray-tune.log"

    @property
    def log(self) -> str:
        """Where the log of Ray Tune is."""
        return self.place(self._LOG)

    def open_log(self) -> AbstractContextManager[Path]:
        """Return a context whose file on this machine holds that log, to be added to."""
        return self.open_to_add(self._LOG)

    def read_trial_list(self) -> list[Any]:
        """Return what is known of each trial; none before the first."""
        content = self.read_json(self.TRIALS)
        if content is None:
            return []
        if not isinstance(content.get("trials"), list):
            raise self.damaged(self.TRIALS, "it has no list of trials")
        return list(content["trials"])

    def write_trial_list(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Replace what is known of the trials in one step."""
        self.write_json(self.TRIALS, {"trials": list(trials)})

    def read_trials(self) -> int:
        """Return how many trials the sweep shall have, as its last start said."""
        state = self.read_state()
        assert state is not None  # it is written before the sweep begins
        return int(state.recipe["search"]["trials"])

    def write_best(self, recipe: str) -> Path:
        """Write the recipe of the best trial; return its file on this machine."""
        self.write(self._BEST, recipe.encode())
        return self.fetch(self._BEST)


class AverageFolder(Folder):
    """The folder of an average over splits or groups."""

    kind = "average"
    parent = "averages"
    state_file = "average.json"

    def read_run_id(self) -> str | None:
        """Return the MLflow run of the average; None where it has not been made."""
        content = self.read_json(self.state_file)
        if content is None:
            return None
        if "run_id" not in content:
            raise self.damaged(self.state_file, "it names no MLflow run")
        return str(content["run_id"])

    def write_means(self, means: Mapping[str, Any], run_id: str) -> Path:
        """Replace the means and their MLflow run in one step; return their file on this machine."""
        self.write_json(self.state_file, {**means, "run_id": run_id})
        return self.fetch(self.state_file)
