"""What stops trials early. Loads Ray Tune.

Neither stops a trial at its last epoch: its training is over by then, and its run would be left unfinished.
"""

from __future__ import annotations

import math
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from pipelines.recipe import Recipe


def make_scheduler(recipe: Recipe) -> TrialScheduler:
    """Return the scheduler of a sweep, which lets all trials end where there is no epoch to stop one after."""
    search, last = recipe.search, recipe.train.epochs - 1
    if search.scheduler == "none" or search.grace_epochs > last:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    if search.scheduler == "median":
        return MedianStopping(last, search.grace_epochs)
    return AsyncHyperBandScheduler(
        time_attr="epoch",
        max_t=last,
        grace_period=search.grace_epochs,
        reduction_factor=search.reduction,
        stop_last_trials=False,
    )


class MedianStopping(MedianStoppingRule):
    """Stops a trial whose best value is worse than the median of the others' means up to the same epoch."""

    def __init__(self, last: int, grace_epochs: int) -> None:
        # Ray would let a trial wait for others, in vain where they wait for its CPUs.
        super().__init__(time_attr="epoch", grace_period=grace_epochs, min_time_slice=math.inf)  # type: ignore[arg-type]
        self._last = last

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide after an epoch before the last."""
        if result.get("epoch", math.inf) > self._last:  # none of a trial that fails before its first
            return TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Keep the end of a trial, unless it has reported nothing."""
        if "epoch" in result:
            super().on_trial_complete(tune_controller, trial, result)
