"""The folders that a workspace keeps of runs, sweeps and averages: no other module knows the names of their files.

A folder's state shows a later start of the same name what it was started with, and its result once there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.tracking.tracker import flatten
from pipelines.tracking.workspace import make_folder, workspace
from tasks.files import replacing
from tasks.remote import reason

FREE = ("train.log_every", "train.loader_threads", "train.keep_checkpoints")
"""Fields that may change from one start to the next, as `compute` may: they do not bear on the result."""


@dataclass(frozen=True)
class Result:
    """The outcome of a finished training."""

    checkpoint: str
    """Name of its folder within the run's."""
    metrics: dict[str, float]
    """Metrics of that checkpoint."""
    chosen: str
    """Why this checkpoint."""


@dataclass(frozen=True)
class State:
    """What a run or a sweep was started with, and its result."""

    run_id: str
    """The MLflow run."""
    dataset_digest: str
    recipe: dict[str, Any]
    """The resolved recipe."""
    result: Result | None = None
    """Set once a training has finished."""

    def with_result(self, result: Result) -> State:
        """Return the state of a finished training."""
        return replace(self, result=result)


class _Folder:
    """A folder of the workspace; what is damaged in it is a `UserError` that names the file."""

    kind: ClassVar[str]
    """What it holds, in messages."""
    parent: ClassVar[str]
    """Folder of the workspace that holds all of them."""
    state_file: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the folder of that name in the workspace."""
        return cls(workspace() / cls.parent / name)

    @property
    def name(self) -> str:
        """The name of the run, sweep or average."""
        return self.path.name

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        try:
            content = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):  # whether it can be made is for whoever writes it to say
            return None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {reason(error)}") from error
        except (ValueError, RecursionError) as error:
            raise self._damaged(name, "no JSON") from error
        if not isinstance(content, dict):
            raise self._damaged(name, "no JSON object")
        return content

    def _damaged(self, name: str, why: str) -> UserError:
        anew = f", give the {self.kind} another name, or delete {self.path} to start it anew"
        return UserError(
            f"{self.path / name} is damaged ({why}): put a copy in its place"
            f"{anew if name == self.state_file else ', or delete it'}"
        )

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a file in one step."""
        make_folder(self.path)
        with replacing(self.path / name) as aside:
            Path(aside).write_text(json.dumps(content, indent=1) + "\n")


class _StatefulFolder(_Folder):
    """A folder with a `State`."""

    def read_state(self) -> State | None:
        """Return what the run or sweep of this name was started with; None where it has not been started."""
        content = self._read_json(self.state_file)
        if content is None:
            return None
        try:
            return _state(content)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(self.state_file, "fields are missing or of another kind") from error

    def write_state(self, state: State) -> None:
        """Replace the state in one step."""
        content = asdict(state)
        if state.result is None:
            del content["result"]
        self._write_json(self.state_file, content)

    def matching_state(
        self, recipe: Mapping[str, Any], digest: str | None, sections: tuple[str, ...], free: tuple[str, ...] = ()
    ) -> State | None:
        """Return the state of an earlier start; None where there was none.

        Args:
            recipe: the resolved recipe of this start.
            digest: digest of the dataset; None where it is not known yet.
            sections: sections of the recipe that must be what they were.
            free: fields of these sections that may change, beside FREE.

        Raises:
            UserError: the earlier start had another recipe or dataset; names the fields.
        """
        state = self.read_state()
        if state is None:
            return None
        try:
            earlier = recipes.to_dict(recipes.parse(state.recipe))  # with the fields that have come since
        except (UserError, ValueError) as error:
            raise self._damaged(self.state_file, f"its recipe cannot be read: {error}") from error
        before, now = _bearing(earlier, sections, free), _bearing(recipe, sections, free)
        fields = [
            f"{key} ({before.get(key, 'not set')}, now {now.get(key, 'not set')})"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if digest is not None and state.dataset_digest != digest:
            fields.append("the videos of the dataset")
        if fields:
            name = recipe["name"]
            go_on = f" (`--set name=... --set model.weights={name}` trains on from its weights)" if state.result else ""
            raise UserError(
                f"{self.kind} {name} was started with another recipe: {', '.join(fields)}; give this one another name"
                f"{go_on}, or delete {self.path}"
            )
        return state


class RunFolder(_StatefulFolder):
    """The folder of a training: its state, checkpoints and evaluation, and what its processes tell one another."""

    kind = "run"
    parent = "runs"
    state_file = "run.json"
    _PROGRESS = "progress.jsonl"
    _RANK_0 = "rank-0.pid"
    _REFUSAL = "refusal.txt"
    _CONTROLLER = "controller.txt"
    _EVALUATION = "evaluation.json"

    @staticmethod
    def checkpoint_name(step: int) -> str:
        """Return the name of the folder of the checkpoint after so many steps."""
        return f"checkpoint-{step:08d}"

    def checkpoint(self, name: str) -> Path:
        """Return the folder of a checkpoint by its name."""
        return self.path / name

    def append_progress(self, report: Mapping[str, float | str]) -> None:
        """Add a report of rank 0 for the driver to show."""
        with (self.path / self._PROGRESS).open("a") as file:
            file.write(json.dumps(report) + "\n")

    def follow_progress(self) -> ProgressFollower:
        """Return a reader of the reports that come from now on."""
        return ProgressFollower(self.path / self._PROGRESS)

    def write_rank_0(self, pid: int) -> None:
        """Note the process of rank 0, for whoever wants to look into it; called there."""
        (self.path / self._RANK_0).write_text(f"{pid}\n")

    def write_refusal(self, reason: str) -> None:
        """Note an error that a restart cannot mend."""
        (self.path / self._REFUSAL).write_text(reason)

    def read_refusal(self) -> str | None:
        """Return the error of this start that a restart cannot mend; None where there is none."""
        path = self.path / self._REFUSAL
        return path.read_text() if path.exists() else None

    def clear_refusal(self) -> None:
        """Forget the refusal of an earlier start."""
        (self.path / self._REFUSAL).unlink(missing_ok=True)

    def write_controller(self, actor_id: str) -> None:
        """Note the id of the Ray Train controller; called in it."""
        (self.path / self._CONTROLLER).write_text(actor_id)

    def read_controller(self) -> str | None:
        """Return the id of the Ray Train controller; None where none has reported."""
        path = self.path / self._CONTROLLER
        return path.read_text() if path.exists() else None

    def write_evaluation(self, content: Mapping[str, Any]) -> None:
        """Replace what `marey run` evaluated, and the result."""
        self._write_json(self._EVALUATION, content)

    def read_evaluation(self) -> dict[str, Any] | None:
        """Return what `marey run` evaluated, and the result; None where it has not."""
        content = self._read_json(self._EVALUATION)
        if content is None:
            return None
        kept = content.get("evaluation")
        if (
            "inputs" not in content
            or not isinstance(kept, dict)
            or not {"folder", "views", "score_space"} <= kept.keys()
        ):
            raise self._damaged(self._EVALUATION, "fields are missing")
        return content


class ProgressFollower:
    """Reads the progress of a run from where it stood when this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def new_reports(self) -> Iterator[dict[str, float | str]]:
        """Yield the reports since the last call; one still being written waits for the next."""
        if not self._path.exists():
            return
        with self._path.open() as file:
            file.seek(self._offset)
            for line in iter(file.readline, ""):
                if line.endswith("\n"):
                    self._offset += len(line.encode())
                    yield json.loads(line)


class SweepFolder(_StatefulFolder):
    """The folder of a sweep: its state, Ray Tune's files, and the best recipe."""

    kind = "sweep"
    parent = "sweeps"
    state_file = "sweep.json"
    _BEST = "best.yaml"

    def read_trials(self) -> int:
        """Return how many trials the sweep shall have, as its last start said."""
        state = self.read_state()
        assert state is not None  # it is written before the sweep begins
        return int(state.recipe["search"]["trials"])

    def write_best(self, recipe: str) -> Path:
        """Write the recipe of the best trial; return its file."""
        path = self.path / self._BEST
        path.write_text(recipe)
        return path


class AverageFolder(_Folder):
    """The folder of an average over splits or groups."""

    kind = "average"
    parent = "averages"
    state_file = "average.json"

    def read_run_id(self) -> str | None:
        """Return the MLflow run of the average; None where it has not been made."""
        content = self._read_json(self.state_file)
        if content is None:
            return None
        if "run_id" not in content:
            raise self._damaged(self.state_file, "it names no MLflow run")
        return str(content["run_id"])

    def write(self, means: Mapping[str, Any], run_id: str) -> Path:
        """Replace the means and their MLflow run in one step; return their file."""
        self._write_json(self.state_file, {**means, "run_id": run_id})
        return self.path / self.state_file


def _state(content: Mapping[str, Any]) -> State:
    """Return a state by its types; KeyError or TypeError where a field is not what it must be."""
    state = State(content["run_id"], content["dataset_digest"], content["recipe"])
    texts, numbers = [state.run_id, state.dataset_digest], []
    if content.get("result"):
        result = Result(**content["result"])
        texts += [result.checkpoint, result.chosen]
        numbers = list(dict(result.metrics).values())
        state = state.with_result(result)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(value, int | float) for value in numbers):
        raise TypeError("a text or a number")
    if not isinstance(state.recipe, dict):
        raise TypeError("recipe")
    return state


def _bearing(recipe: Mapping[str, Any], sections: tuple[str, ...], free: tuple[str, ...]) -> dict[str, str]:
    flat = flatten({section: recipe[section] for section in sections})
    division = {f"data.{key}": str(recipe["data"][key]) for key in ("split", "fold")}
    return {key: value for key, value in {**flat, **division}.items() if key not in (*FREE, *free)}
