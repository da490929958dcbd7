"""Which errors of the workers end a training, and which Ray Train answers with a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.exceptions import RayActorError
from ray.train import ControllerError, UserCallback

from cluster import ray_internals
from pipelines.errors import UserError, user_error

RECOUNT_S = 5.0
"""How long the count of nodes may take before a restart."""


class Recount(UserCallback):
    """Has the nodes counted anew where workers have died, or Ray Train would start others on a node that has gone."""

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, BaseException]) -> None:
        """Wait until it is done; Ray Train decides afterwards how many workers there is room for."""
        ray_internals.recount_nodes(RECOUNT_S)


class Restarts(UserCallback):
    """Ends the training at an error that would come again, or at one too many without progress.

    Runs in Ray Train's controller, whose own limit counts over the whole training, and any error alike.
    """

    def __init__(self, most: int) -> None:
        """`most`: failures since the last checkpoint that a restart follows."""
        self._most = most
        self._failures = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Forget the failures before a checkpoint."""
        if checkpoint is not None:
            self._failures = 0

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, BaseException]) -> None:
        """Raise Ray Train's error for those that it does not answer with a restart."""
        errors = list(worker_exceptions.values())
        final = next(filter(None, map(user_error, errors)), None)
        if final is None and not any(map(_is_preempted, errors)):
            self._failures += 1
            if self._failures > self._most:
                final = min(errors, key=lambda error: died(error) is not None)  # deaths often follow from an error
        if final is not None:
            raise ControllerError(final)  # type: ignore[arg-type]


def died(error: BaseException) -> RayActorError | None:
    """Return Ray's error where a worker, or the controller, has ended without one of its own."""
    found = getattr(error, "health_check_failure", error)  # of Ray Train's WorkerHealthCheckFailedError
    return found if isinstance(found, RayActorError) else None


def cause_of(error: BaseException, name: str) -> BaseException:
    """Return the error to raise where Ray Train has raised `error`: the worker's own, or one line on who died.

    Args:
        error: a TrainingFailedError, or the RayActorError of the controller.
        name: name of the run.
    """
    if (cause := user_error(error)) is not None:
        return cause
    cause = getattr(error, "controller_failure", error)
    death = died(cause)
    if death is None:
        return cause
    why = f"({str(death).strip().splitlines()[0]}): the same command goes on with {name} from the last checkpoint"
    if death is error:
        return UserError(f"Ray's controller of the training has ended {why}")
    return UserError(f"too many workers of the training have ended {why}")


def _is_preempted(error: BaseException) -> bool:
    death = died(error)
    return death is not None and death.preempted
