"""How Ray Train is told what it reads from the environment alone: while a training runs, where the user has not."""

from __future__ import annotations

from cluster import ports
from pipelines.recipe import ComputeSettings


def variables(compute: ComputeSettings, *, drains: bool) -> dict[str, str]:
    """Return what the driver's environment shall hold; Ray Train passes on what its controller and workers read.

    Args:
        compute: of the recipe.
        drains: whether there are machines that can be taken away.
    """
    # Ray Train polls its workers every two seconds by default, and each report waits for that.
    found = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2"}
    if drains:
        # Room is counted on a machine that is being taken away, or has gone in silence: Ray then waits this long for it
        # before it counts again.
        found["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "10"
    else:
        found["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # a process per training
    if compute.gpus_per_worker and compute.most > 1:
        # torch's own watchdog ends workers only after half an hour, and cannot say which rank the others wait for.
        found["RAY_TRAIN_ENABLE_NCCL_HANG_DETECTOR"] = "1"
        found["RAY_TRAIN_NCCL_RAS_ACTION"] = "fail"
        # By default the first training on a machine answers for all of them.
        found["NCCL_RAS_ADDR"] = f"localhost:{ports.free(1)[0]}"
    return found
