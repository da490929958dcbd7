"""The errors that a user can cause, and how to find one below what a cluster wraps around it."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.errors import ClusterError
from models.common.errors import ModelError
from tasks.errors import UserError as UserError
from tasks.errors import did_you_mean as did_you_mean
from tasks.video import VideoError

USER_ERRORS = (UserError, VideoError, ClusterError, ModelError)


def user_error(error: BaseException) -> BaseException | None:
    """Return the user's error that `error` is or was raised from, on this machine or on a worker; else None.

    Of several that were raised from one another it is the last one, which says most.
    """
    return next((cause for cause in _causes(error) if isinstance(cause, USER_ERRORS)), None)


def user_line(error: BaseException) -> str | None:
    """Return the text of the user's error that `error` is or was raised from, in one line; None where there is none."""
    cause = user_error(error)
    return None if cause is None else " ".join(str(cause).split())


def _causes(error: BaseException, above: tuple[BaseException, ...] = ()) -> Iterator[BaseException]:
    wrapped = [
        getattr(error, "cause", None),  # ray.exceptions.RayTaskError
        getattr(error, "controller_failure", None),  # ray.train.ControllerError
        *getattr(error, "worker_failures", {}).values(),  # ray.train.WorkerGroupError
        error.__cause__,
    ]
    # Ray's wrapper is an instance of the wrapped class too, but its text is a whole traceback.
    if not isinstance(getattr(error, "cause", None), BaseException):
        yield error
    above = (*above, error)  # a cause that was raised from its wrapper leads back to it
    for cause in wrapped:
        if isinstance(cause, BaseException) and all(cause is not one for one in above):
            yield from _causes(cause, above)
