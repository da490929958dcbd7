"""The driver's callback for Ray Tune: logs a line per trial, and cleans up after stopped trials."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.waiting import SILENT_S
from pipelines.recipe import Recipe
from pipelines.tracking import RunFolder, Tracker
from pipelines.tracking.patience import outlast
from pipelines.tracking.progress import report_of_job
from pipelines.tracking.run_folder import SweepFolder
from pipelines.tune.cleanup import PlacementGroupCleaner
from pipelines.tune.outcome import differs, epochs_of, reason_of
from pipelines.tune.space import plain_values
from tasks.words import counted

log = logging.getLogger(__name__)

EVERY_S = 30.0
"""Seconds without a line after which one says what the sweep waits for."""


def trial_name(sweep: str, trial_id: str) -> str:
    """Return the name of the run of a trial."""
    return f"{sweep}.{trial_id}"


def sweep_callback(recipe: Recipe, uri: str, run_id: str) -> Any:
    """Return a callback that logs how the sweep goes, and ends the runs and frees the workers of stopped trials.

    Args:
        recipe: the sweep's.
        uri: MLflow's store.
        run_id: the parent run, which gets the best value so far.
    """
    from ray.tune.progress_reporter import TrialProgressCallback

    class SweepCallback(TrialProgressCallback):
        """Runs in the driver, in the place of Ray Tune's own, which prints a line for a trial without a report."""

        def __init__(self) -> None:
            super().__init__()
            self.placement_groups = PlacementGroupCleaner()
            self.untold: list[Callable[[], object]] = []
            self.failures: dict[str, str | None] = {}
            """Why trials that have ended for Ray Tune failed; None for those that did not."""
            self.begun = False
            self.silent_until = 0.0

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if not self.begun and (before := self._ended(trials)):
                best = self._best(before)
                reached = "" if best is None else f", best {recipe.search.metric} {best:.4g}"
                log.info("%d of %d trials ended before%s", len(before), self._trials(), reached)
            if not self.begun:
                self.silent_until = time.monotonic() + SILENT_S
                report_of_job(len(self._ended(trials)), self._trials(), "trials")
            self.begun = True

        def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
            """Print nothing of a report; trials are told of as they end."""

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            self.placement_groups.remove_orphans()
            if time.monotonic() > self.silent_until:
                running = sum(one.status == one.RUNNING for one in trials)
                what = counted(running, "trial") if running else "the first trials to start"
                self._say("waiting for %s; %d of %d ended", what, len(self._ended(trials)), self._trials())

        def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
            self.placement_groups.remove_remaining()
            outlast(self._tell_mlflow)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            if (reason := self._failure(trial)) is not None:
                self._tell_failed(trials, trial, reason)
                return
            epochs = int(trial.last_result.get("epoch", 0))
            pruned = epochs < recipe.train.epochs
            state = self._folder(trial).read_state()
            assert state is not None  # it has reported
            trial_run = state.run_id
            ended = self._ended(trials, trial)
            score, best = self._score(trial), self._best(ended)
            report_of_job(len(ended), self._trials(), "trials")
            self._tell_mlflow(lambda: self._end_stopped(trial_run, pruned, len(ended), best))
            self.placement_groups.watch(self._folder(trial))
            self._say(
                "%s  %s %.4g (best %.4g)  %s",
                self._label(trial, len(ended)),
                recipe.search.metric,
                score,
                best,
                epochs_of("stopped" if pruned else "finished", epochs, recipe.train.epochs),
            )

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.placement_groups.watch(self._folder(trial))
            self._say("trial %s is trained again: %s", self._name_of(trial), reason_of(_error(trial)))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._tell_failed(trials, trial, reason_of(_error(trial)))

        def _tell_failed(self, trials: list[Any], trial: Any, reason: str) -> None:
            self._tell_mlflow(lambda: self._end_dead(trial))
            self.placement_groups.watch(self._folder(trial))
            ended = len(self._ended(trials, trial))
            report_of_job(ended, self._trials(), "trials")
            self._say("%s  failed: %s", self._label(trial, ended), reason)

        def _say(self, text: str, *values: object) -> None:
            log.info(text, *values)
            self.silent_until = time.monotonic() + EVERY_S

        def _label(self, trial: Any, number: int) -> str:
            return f"trial {number}/{self._trials()} {self._name_of(trial)}"

        def _name_of(self, trial: Any) -> str:
            return f"{trial_name(recipe.name, trial.trial_id)}  {differs(plain_values(trial.config))}"

        def _failure(self, trial: Any) -> str | None:
            """Return why a trial that has ended for Ray Tune failed; one that has trained to its end did not."""
            if int(trial.last_result.get("epoch", 0)) >= recipe.train.epochs:
                return None
            if trial.trial_id not in self.failures:
                failure = self._folder(trial).read_failure()
                self.failures[trial.trial_id] = failure.reason if failure else None
            return self.failures[trial.trial_id]

        def _ended(self, trials: list[Any], ending: Any = None) -> dict[str, Any]:
            """Return the trials that have ended, of earlier starts too, and the one that is ending now."""
            return {one.trial_id: one for one in trials if one is ending or one.is_finished()}

        def _best(self, ended: dict[str, Any]) -> float | None:
            scores = [score for one in ended.values() if (score := self._score(one)) is not None]
            return (max if recipe.search.mode == "max" else min)(scores, default=None)

        def _score(self, trial: Any) -> float | None:
            if trial.status == trial.ERROR or self._failure(trial) is not None:
                return None
            score = trial.metric_analysis.get(recipe.search.metric, {}).get(recipe.search.mode)
            return None if score is None else float(score)

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

        def _end_stopped(self, trial_run: str, pruned: bool, ended: int, best: float | None) -> None:
            run = Tracker(uri, trial_run)
            run.set_tags({"pruned": str(pruned).lower()})
            run.mark_finished()
            if best is not None:
                Tracker(uri, run_id).log_metrics({f"best/{recipe.search.metric}": best}, ended)

        def _end_dead(self, trial: Any) -> None:
            state = self._folder(trial).read_state()
            run = Tracker(uri, state.run_id) if state else None
            if run is not None and run.is_running():  # its process died
                run.end("FAILED")

        def _trials(self) -> int:
            return SweepFolder.of(recipe.name).read_trials()

        def _folder(self, trial: Any) -> RunFolder:
            return RunFolder.of(trial_name(recipe.name, trial.trial_id))

    return SweepCallback()


def _error(trial: Any) -> BaseException:
    """Return what a trial has failed of, from the driver's folder: the sweep's own does not have it yet."""
    from ray import cloudpickle

    if trial.pickled_error_file is None:  # Tune's own, of which there is the text alone
        return RuntimeError(Path(trial.error_file).read_text().strip().splitlines()[-1])
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    assert isinstance(error, BaseException)
    return error
