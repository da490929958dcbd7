"""Many calls of one Ray task, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any


def bounded(
    task: Any,
    calls: Iterable[tuple[Any, ...]],
    limit: int,
    waiting: Callable[[], object],
    *,
    crashed: Callable[[int], Any] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run a Ray task with each tuple of arguments, at most `limit` at once.

    Args:
        task: The task.
        calls: The arguments of each call.
        limit: Most calls at once.
        waiting: Is called whenever a second passes without a result.
        crashed: Takes the number of a call that ends its worker, each time that Ray tries it, and returns its result;
            without it, that is Ray's error.

    Yields:
        Number of the call and its result, as they finish.
    """
    import ray
    from ray.exceptions import WorkerCrashedError

    numbered = enumerate(calls)
    running: dict[Any, int] = {}
    while True:
        for number, arguments in islice(numbered, limit - len(running)):
            running[task.remote(*arguments)] = number
        if not running:
            return
        ready, _ = ray.wait(list(running), timeout=1.0)
        if not ready:
            waiting()
        for reference in ready:
            number = running.pop(reference)
            try:
                result = ray.get(reference)
            except WorkerCrashedError:
                if crashed is None:
                    raise
                result = crashed(number)
            yield number, result
