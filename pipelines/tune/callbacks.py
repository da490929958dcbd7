"""The driver's callback for Ray Tune: notes what becomes of trials, logs a line for each, and cleans up after them."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.waiting import SILENT_S
from pipelines.recipe import Recipe
from pipelines.tracking import RunFolder, Tracker
from pipelines.tracking.patience import outlast
from pipelines.tracking.progress import report_of_job
from pipelines.tune.cleanup import PlacementGroupCleaner
from pipelines.tune.ledger import TRIAL, VALUES, Ledger, trial_name
from pipelines.tune.outcome import TrialOutcome, differs, epochs_of, reason_of
from tasks.words import counted

log = logging.getLogger(__name__)

EVERY_S = 30.0
"""Seconds without a line after which one says what the sweep waits for."""


def sweep_callback(recipe: Recipe, uri: str, run_id: str, ledger: Ledger) -> Any:
    """Return a callback that notes how the sweep goes, and ends the runs and frees the workers of stopped trials.

    Args:
        recipe: the sweep's.
        uri: MLflow's store.
        run_id: the parent run, which gets the best value so far.
        ledger: where it notes that.
    """
    from ray.tune.progress_reporter import TrialProgressCallback

    class SweepCallback(TrialProgressCallback):
        """Runs in the driver, in the place of Ray Tune's own, which prints a line for a trial without a report."""

        def __init__(self) -> None:
            super().__init__()
            self.placement_groups = PlacementGroupCleaner()
            self.untold: list[Callable[[], object]] = []
            self.curves: defaultdict[str, dict[int, float]] = defaultdict(dict)
            self.error: BaseException | None = None
            """What a trial has failed of last."""
            self.silent_until: float | None = None

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if self.silent_until is None:
                self.silent_until = time.monotonic() + SILENT_S
                report_of_job(len(ledger.ended()), ledger.trials, "trials")

        def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
            """Print nothing of a report; trials are told of as they end."""

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            self.placement_groups.remove_orphans()
            if self.silent_until is not None and time.monotonic() > self.silent_until:
                running = sum(one.status == one.RUNNING for one in trials)
                what = counted(running, "trial") if running else "the first trials to start"
                self._say("waiting for %s; %d of %d ended", what, len(ledger.ended()), ledger.trials)

        def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
            self.placement_groups.remove_remaining()
            outlast(self._tell_mlflow)

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
            if recipe.search.metric in result:  # a trial that fails before its first epoch ends with an empty report
                self.curves[trial.config[TRIAL]][int(result["epoch"])] = float(result[recipe.search.metric])

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            name, curve = self._name(trial), self.curves[trial.config[TRIAL]]
            epochs = max(curve, default=0)
            failure = ledger.failure(trial.config[TRIAL]) if epochs < recipe.train.epochs else None
            if failure is not None or not curve:
                self._fail(trial, failure or f"it reported no {recipe.search.metric}")
                return
            state = RunFolder.of(name).read_state()
            assert state is not None  # it has reported
            trial_run = state.run_id
            outcome = TrialOutcome(
                name=name,
                values=trial.config[VALUES],
                status="finished" if epochs >= recipe.train.epochs else "stopped",
                score=(max if recipe.search.mode == "max" else min)(curve.values()),
                epochs=epochs,
                ended=float(trial.last_result["timestamp"]),
            )
            ended = self._end(trial, outcome, curve)
            best = best_of(ledger, recipe.search.mode)
            self._tell_mlflow(lambda: self._end_finished(trial_run, outcome, ended, best))
            self._say(
                "%s  %s %.4g (best %.4g)  %s",
                self._label(trial, ended),
                recipe.search.metric,
                outcome.score,
                best,
                epochs_of(outcome.status, epochs, recipe.train.epochs),
            )

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            error = _error(trial)
            if is_lost(error) and ledger.lose(trial.config[TRIAL]) <= recipe.compute.max_failures:
                self.placement_groups.watch(RunFolder.of(self._name(trial)))
                self._say("trial %s goes on later: it was lost (%s)", self._name(trial), reason_of(error))
                return
            self.error = error
            self._fail(trial, reason_of(error))

        def _fail(self, trial: Any, reason: str) -> None:
            name, epochs = self._name(trial), max(self.curves[trial.config[TRIAL]], default=0)
            outcome = TrialOutcome(name, trial.config[VALUES], "failed", None, epochs, reason, time.time())
            ended = self._end(trial, outcome, {})
            self._tell_mlflow(lambda: self._end_dead(name))
            self._say("%s  failed: %s", self._label(trial, ended), reason)

        def _end(self, trial: Any, outcome: TrialOutcome, curve: dict[int, float]) -> int:
            """Note the end of a trial, and return how many have ended."""
            ledger.end(trial.config[TRIAL], outcome, curve)
            self.placement_groups.watch(RunFolder.of(outcome.name))
            ended = len(ledger.ended())
            report_of_job(ended, ledger.trials, "trials")
            return ended

        def _say(self, text: str, *values: object) -> None:
            log.info(text, *values)
            self.silent_until = time.monotonic() + EVERY_S

        def _name(self, trial: Any) -> str:
            return trial_name(recipe.name, trial.config[TRIAL])

        def _label(self, trial: Any, number: int) -> str:
            return f"trial {number}/{ledger.trials} {self._name(trial)}  {differs(trial.config[VALUES])}"

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

        def _end_finished(self, trial_run: str, outcome: TrialOutcome, ended: int, best: float | None) -> None:
            end_finished(Tracker(uri, trial_run), outcome)
            if best is not None:
                Tracker(uri, run_id).log_metrics({f"best/{recipe.search.metric}": best}, ended)

        def _end_dead(self, name: str) -> None:
            state = RunFolder.of(name).read_state()
            run = Tracker(uri, state.run_id) if state else None
            if run is not None and run.is_running():  # its process died
                run.end("FAILED")

    return SweepCallback()


def end_finished(run: Tracker, outcome: TrialOutcome) -> None:
    """Have MLflow know of the end of a trial that has not failed; its process may have been stopped before it could."""
    run.set_tags({"pruned": str(outcome.status == "stopped").lower()})
    run.mark_finished()


def best_of(ledger: Ledger, mode: str) -> float | None:
    """Return the best value of the trials that have ended; None without any."""
    scores = [one.score for one in ledger.outcomes() if one.score is not None]
    return (max if mode == "max" else min)(scores, default=None)


def is_lost(error: BaseException) -> bool:
    """Return whether a trial's process, or that of its controller, has died under it."""
    from ray.exceptions import RayActorError, WorkerCrashedError

    lost = (RayActorError, WorkerCrashedError)
    return isinstance(error, lost) or isinstance(getattr(error, "cause", None), lost)


def _error(trial: Any) -> BaseException:
    """Return what a trial has failed of, from the driver's folder: the sweep's own does not have it yet."""
    from ray import cloudpickle

    if trial.pickled_error_file is None:  # Tune's own, of which there is the text alone
        return RuntimeError(Path(trial.error_file).read_text().strip().splitlines()[-1])
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    assert isinstance(error, BaseException)
    return error
