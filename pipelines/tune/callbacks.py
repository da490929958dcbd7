"""The driver's callback for Ray Tune: logs a line per trial, and cleans up after stopped trials."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cluster.errors import ClusterError
from pipelines.recipe import Recipe
from pipelines.tracking import RunFolder, Tracker
from pipelines.tracking.patience import outlast
from pipelines.tracking.run_folder import SweepFolder
from pipelines.tune.cleanup import PlacementGroupCleaner

log = logging.getLogger(__name__)


def trial_name(recipe: Recipe, trial_id: str) -> str:
    """Return the name of the run of a trial."""
    return f"{recipe.name}.{trial_id}"


def sweep_callback(recipe: Recipe, uri: str) -> Any:
    """Return a callback that logs how the sweep goes, and ends the runs and frees the workers of stopped trials."""
    from ray.tune import Callback

    class SweepCallback(Callback):
        """Runs in the driver."""

        def __init__(self) -> None:
            self.done = 0
            self.best: float | None = None
            self.placement_groups = PlacementGroupCleaner()
            self.untold: list[Callable[[], object]] = []

        def get_state(self) -> dict[str, Any]:
            return {"done": self.done, "best": self.best}

        def set_state(self, state: dict[str, Any]) -> None:
            self.done, self.best = state["done"], state["best"]

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            self.placement_groups.remove_orphans()

        def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
            self.placement_groups.remove_remaining()
            outlast(self._tell_mlflow)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            search, result = recipe.search, trial.last_result
            analysis = trial.metric_analysis.get(search.metric, {})
            score = analysis.get(search.mode)
            epochs = result.get("epoch", 0)
            pruned = epochs < recipe.train.epochs
            state = self._folder(trial).read_state()
            assert state is not None  # it has reported
            run_id = state.run_id
            self._tell_mlflow(lambda: self._end_stopped(run_id, pruned))
            self.placement_groups.watch(self._folder(trial))
            self.done += 1
            if score is not None:
                choose = max if search.mode == "max" else min
                self.best = score if self.best is None else choose(self.best, score)
            log.info(
                "trial %d/%d %s  %s %.4g (best %.4g)  %s",
                self.done,
                self._trials(),
                f"stopped after epoch {epochs:g}" if pruned else "finished",
                search.metric,
                score,
                self.best,
                "  ".join(f"{field}={format_value(value)}" for field, value in trial.config.items()),
            )

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.done += 1
            self._tell_mlflow(lambda: self._end_dead(trial))
            self.placement_groups.watch(self._folder(trial))
            log.warning("trial %d/%d failed: %s", self.done, self._trials(), trial.error_file)

        def _tell_mlflow(self, what: Callable[[], object] | None = None) -> None:
            """Tell MLflow of the end of a trial, and of earlier ones of which it could not be told.

            While it is away this waits for the next trial, and at the end of the sweep for MLflow.
            """
            self.untold += [what] if what else []
            try:
                while self.untold:
                    self.untold[0]()
                    del self.untold[0]
            except ClusterError as error:
                if what is None:
                    raise
                log.warning("MLflow will be told later that the trial has ended: %s", error)

        def _end_stopped(self, run_id: str, pruned: bool) -> None:
            run = Tracker(uri, run_id)
            run.set_tags({"pruned": str(pruned).lower()})
            run.mark_finished()

        def _end_dead(self, trial: Any) -> None:
            state = self._folder(trial).read_state()
            run = Tracker(uri, state.run_id) if state else None
            if run is not None and run.is_running():  # its process died
                run.end("FAILED")

        def _trials(self) -> int:
            return SweepFolder.of(recipe.name).read_trials()

        def _folder(self, trial: Any) -> RunFolder:
            return RunFolder.of(trial_name(recipe, trial.trial_id))

    return SweepCallback()


def format_value(value: Any) -> str:
    """Return a field's value for a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
