"""What stops trials early. Loads Ray Tune.

Neither stops a trial at its last epoch: its training is over by then, and its run would be left unfinished. Each knows
what the trials of earlier starts of the sweep have reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from pipelines.recipe import Recipe
from pipelines.tune.ledger import Entry

EPOCH = "epoch"


def make_scheduler(recipe: Recipe, earlier: Sequence[Entry]) -> TrialScheduler:
    """Return the scheduler of a sweep, which lets all trials end where there is no epoch to stop one after.

    Args:
        recipe: the sweep's.
        earlier: trials that have ended.
    """
    search, last = recipe.search, recipe.train.epochs - 1
    if search.scheduler == "none" or search.grace_epochs > last:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    if search.scheduler == "median":
        return _MedianStopping(last, search.grace_epochs, earlier)
    return _Halving(last, search.grace_epochs, search.reduction, earlier)


class _Halving(AsyncHyperBandScheduler):
    """ASHA, which stops what is worse than most others at some epochs."""

    def __init__(self, last: int, grace_epochs: int, reduction: float, earlier: Sequence[Entry]) -> None:
        super().__init__(
            time_attr=EPOCH,
            max_t=last,
            grace_period=grace_epochs,
            reduction_factor=reduction,
            stop_last_trials=False,
        )
        self._earlier = earlier

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take over what is searched, and know the earlier trials."""
        taken = super().set_search_properties(metric, mode, **spec)
        _tell(self, self._earlier, str(metric))
        return taken


class _MedianStopping(MedianStoppingRule):
    """Stops a trial whose best value is worse than the median of the others' means up to the same epoch."""

    def __init__(self, last: int, grace_epochs: int, earlier: Sequence[Entry]) -> None:
        # Ray would let a trial wait for others, in vain where they wait for its CPUs.
        super().__init__(time_attr=EPOCH, grace_period=grace_epochs, min_time_slice=math.inf)  # type: ignore[arg-type]
        self._last, self._earlier = last, earlier

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take over what is searched, and know the earlier trials."""
        taken = super().set_search_properties(metric, mode, **spec)
        _tell(self, self._earlier, str(metric))
        return taken

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide after an epoch before the last."""
        if result.get(EPOCH, math.inf) > self._last:  # none of a trial that fails before its first
            return TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Keep the end of a trial, unless it has reported nothing."""
        if EPOCH in result:
            super().on_trial_complete(tune_controller, trial, result)


def _tell(scheduler: TrialScheduler, earlier: Sequence[Entry], metric: str) -> None:
    """Tell a scheduler each epoch of trials that have ended, as an end: it then decides nothing about it."""
    for entry in earlier:
        trial = Trial("earlier", trial_id=entry.trial_id, stub=True)
        for epoch, value in entry.curve.items():
            scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]  # neither asks for the controller
            scheduler.on_trial_complete(None, trial, {EPOCH: epoch, metric: value})  # type: ignore[arg-type]
