"""What proposes the trials of a sweep: Optuna over the recipe's space, and the ledger. Loads Ray Tune."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.optuna import OptunaSearch

from pipelines.recipe import SearchSettings
from pipelines.tune.ledger import TRIAL, VALUES, Entry, Ledger, new_id
from pipelines.tune.space import Space, grid_points, plain_values
from tasks.seeds import seed

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

PLAIN = (bool, int, float, str, type(None))
"""What Optuna takes as a value of a choice."""


def make_search(search: SearchSettings, space: Space, concurrent: int, ledger: Ledger) -> Searcher:
    """Return the search of a sweep, of which at most `concurrent` trials are out at once.

    It gives the open trials of the ledger first, and knows those that have ended.
    """
    points = [one.values for one in ledger.entries]
    if search.sampler == "grid":
        points += grid_points(space)[len(points) :]
    sampler = _PerTrial(TPESampler if search.sampler == "tpe" else RandomSampler, search.seed)  # of a grid, unused
    optuna_search = OptunaSearch(
        _Drawn(space),
        metric=search.metric,
        mode=search.mode,
        sampler=sampler,
        points_to_evaluate=[{field: _known(value) for field, value in point.items()} for point in points],
    )
    for entry in ledger.entries:
        optuna_search.suggest(entry.trial_id)
        if entry.curve:
            last = entry.curve[max(entry.curve)]
            optuna_search.on_trial_complete(entry.trial_id, {search.metric: last})
        elif entry.outcome is not None:
            optuna_search.on_trial_complete(entry.trial_id, error=True)
    return ConcurrencyLimiter(_LedgerSearch(optuna_search, ledger), max_concurrent=concurrent)


class _LedgerSearch(Searcher):
    """Gives Ray Tune the trials of a ledger that are open, then new ones, each of which is noted first."""

    def __init__(self, searcher: OptunaSearch, ledger: Ledger) -> None:
        super().__init__(searcher.metric, searcher.mode)
        self._searcher, self._ledger = searcher, ledger
        self._open = [one for one in ledger.entries if one.outcome is None]
        self._given: dict[str, str] = {}
        """Ids in the ledger by those that Tune has."""

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return what Tune shall know of the next trial."""
        entry = self._open.pop(0) if self._open else self._drawn()
        self._given[trial_id] = entry.trial_id
        return {TRIAL: entry.trial_id, VALUES: entry.values}

    def _drawn(self) -> Entry:
        number = new_id()
        return self._ledger.add(number, plain_values(self._searcher.suggest(number) or {}))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell Optuna of an epoch; a trial that failed before its first ends with an empty report."""
        if self.metric in result:
            self._searcher.on_trial_result(self._given[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna of the end of a trial; one that has failed counts as failed, whatever it had reached before."""
        if self._ledger.failure(self._given[trial_id]) is not None:
            result, error = None, True
        self._searcher.on_trial_complete(self._given[trial_id], result, error)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger is written whenever it changes."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a sweep that goes on has a new search."""


class _PerTrial(BaseSampler):
    """A sampler whose numbers depend on the seed, a trial's number and the trials before, but on no earlier draw."""

    def __init__(self, kind: type[TPESampler | RandomSampler], seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._number, self._sampler = -1, kind(seed=0)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            self._number = trial.number
            self._sampler = self._kind(seed=seed(self._seed, "trial", trial.number) % 2**32)
        return self._sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler of the trial."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler of the trial."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler of the trial."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)


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
