"""What proposes the trials of a sweep: Optuna over the recipe's space. Loads Ray Tune."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import optuna
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator
from ray.tune.search.optuna import OptunaSearch

from pipelines.recipe import SearchSettings
from pipelines.tracking import RunFolder
from pipelines.tracking.run_folder import SweepFolder
from pipelines.tune.callbacks import trial_name
from pipelines.tune.space import Space, grid_points

if TYPE_CHECKING:
    from optuna import Trial

PLAIN = (bool, int, float, str, type(None))
"""What Optuna takes as a value of a choice."""


def make_search(search: SearchSettings, space: Space, concurrent: int, folder: SweepFolder) -> SearchGenerator:
    """Return the search of a sweep, of which at most `concurrent` trials are out at once."""
    samplers = optuna.samplers  # of a grid, nothing is drawn
    sampler = (samplers.TPESampler if search.sampler == "tpe" else samplers.RandomSampler)(seed=search.seed)
    points = None
    if search.sampler == "grid":
        points = [{field: _known(value) for field, value in point.items()} for point in grid_points(space)]
    searcher = OptunaSearch(
        _Drawn(space), metric=search.metric, mode=search.mode, sampler=sampler, points_to_evaluate=points
    )
    return GrowingSearch(ConcurrencyLimiter(searcher, max_concurrent=concurrent), folder)


class GrowingSearch(SearchGenerator):
    """Tune's own wrapper of a searcher; after a restore, the sweep's folder says how many trials there shall be."""

    def __init__(self, searcher: Searcher, folder: SweepFolder) -> None:
        super().__init__(searcher)
        self._folder = folder

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a report on; a trial that failed before its first one ends with an empty one."""
        if self.metric in result:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass the end of a trial on; one that has failed counts as failed, whatever it had reached before."""
        if RunFolder.of(trial_name(self._folder.name, trial_id)).read_failure() is not None:
            result, error = None, True
        super().on_trial_complete(trial_id, result, error)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a saved state, but for the number of trials."""
        super().set_state({**state, "total_samples": self._folder.read_trials()})


class _Drawn:
    """Draws the values of a trial, as Optuna's define-by-run; a class, for OptunaSearch pickles it."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def __call__(self, trial: Trial) -> dict[str, Any]:
        point: dict[str, Any] = {}
        for field, dimension in self._space.items():
            if dimension.is_varied(point):
                point[field] = _draw(trial, field, dimension.distribution, dimension.values)
        return point


def _draw(trial: Trial, field: str, distribution: str, values: list[Any]) -> Any:
    match distribution:
        case "uniform":
            return trial.suggest_float(field, *values)
        case "log_uniform":
            return trial.suggest_float(field, *values, log=True)
        case "int_uniform":
            return trial.suggest_int(field, *values)
    known = [_known(value) for value in values]
    return values[known.index(trial.suggest_categorical(field, known))]


def _known(value: Any) -> Any:
    """Return a value of a choice as Optuna takes it: a list, for example, as text."""
    return value if isinstance(value, PLAIN) else json.dumps(value)
