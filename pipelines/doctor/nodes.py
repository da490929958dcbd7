"""`python -m pipelines.doctor.nodes ADDRESS`: prints as JSON what each node of a cluster has, or why not."""

from __future__ import annotations

import json
import sys
from typing import Any

NEEDED = ("av", "cv2", "mlflow", "numba", "pyarrow", "torch")
"""Modules that a worker imports; decord may be missing."""
ANSWER_SECONDS = 15.0


def ask(address: str) -> list[dict[str, Any]]:
    """Join a cluster, and return what each of its nodes has; one that does not answer has an `error`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from cluster.attach import attach

    attach(address)
    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    task = ray.remote(num_cpus=0, max_retries=0)(describe)
    asked = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in alive
    ]
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
    return [
        {"ip": node["NodeManagerAddress"], **(_answer(answer) if answer in ready else _late())}
        for node, answer in zip(alive, asked, strict=True)
    ]


def describe() -> dict[str, Any]:
    """Return the versions here, and which modules are missing; runs on a node."""
    import platform
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    try:
        marey = version("marey")
    except PackageNotFoundError:
        marey = "of no version"
    missing = [name for name in NEEDED if find_spec(name) is None]
    return {"marey": marey, "python": platform.python_version(), "missing": missing}


def _answer(answer: Any) -> dict[str, Any]:
    import ray

    try:
        return dict(ray.get(answer))
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:200]
        return {"error": f"marey does not start there ({reason}): install it at the same path as here"}


def _late() -> dict[str, Any]:
    return {"error": f"no answer within {ANSWER_SECONDS:.0f} s: look at `ray status`"}


def main() -> None:
    """Print what was found, or the line of an error."""
    from pipelines.errors import user_line

    try:
        answer: list[dict[str, Any]] | str = ask(sys.argv[1])
    except Exception as error:
        line = user_line(error)
        if line is None:
            raise
        answer = line
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
