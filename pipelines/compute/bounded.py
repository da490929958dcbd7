"""Many calls of one Ray task, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any


def bounded(
    task: Any, calls: Iterable[tuple[Any, ...]], limit: int, waiting: Callable[[], object]
) -> Iterator[tuple[int, Any]]:
    """Run a Ray task with each tuple of arguments, at most `limit` at once.

    Yields:
        Number of the call and its result, as they finish. `waiting` is called whenever a second passes without one.
    """
    import ray

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
            yield running.pop(reference), ray.get(reference)
