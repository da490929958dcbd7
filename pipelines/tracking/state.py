"""What a run or a sweep was started with: a later start of the same name must be of the same recipe and dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.tracking.folder import Folder
from pipelines.tracking.tracker import flatten

FREE = ("train.log_every", "train.loader_threads", "train.checkpoint_minutes", "train.keep_checkpoints")
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


class StatefulFolder(Folder):
    """A folder with a `State`."""

    def read_state(self) -> State | None:
        """Return what the run or sweep of this name was started with; None where it has not been started."""
        content = self.read_json(self.state_file)
        if content is None:
            return None
        try:
            return _state(content)
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged(self.state_file, "fields are missing or of another kind") from error

    def write_state(self, state: State) -> None:
        """Replace the state in one step."""
        content = asdict(state)
        if state.result is None:
            del content["result"]
        self.write_json(self.state_file, content)

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
            earlier = recipes.to_dict(recipes.recorded(state.recipe))  # with the fields that have come since
        except (UserError, ValueError) as error:
            raise self.damaged(self.state_file, f"its recipe cannot be read: {error}") from error
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
                f"{go_on}, or delete {self.address}"
            )
        return state


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
