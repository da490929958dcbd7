"""What the cluster has, and whether a training fits into it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from cluster import ray_internals
from pipelines.errors import UserError
from pipelines.recipe import ComputeSettings
from tasks.words import counted

GROWS_TO = "MAREY_MAX_RESOURCES"
"""Variable that says what a cluster may grow to, `CPU=64,GPU=8`: Ray's autoscaler does not tell its drivers."""
ON_DEMAND = "on_demand"
"""Resource of machines that nobody takes away; drivers of trials ask for a little of it where there is any."""


def current_resources() -> dict[str, float]:
    """Return CPU, GPU and so on of the cluster as it is now."""
    import ray

    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def free_resources() -> dict[str, float]:
    """Return CPU, GPU and so on of the cluster that nothing holds."""
    import ray

    return dict(ray.available_resources())  # type: ignore[no-untyped-call]


def max_resources() -> dict[str, float]:
    """Return CPU, GPU and so on of the cluster, or of what it may grow to where it scales itself."""
    known = dict(ray_internals.max_resources() or current_resources())
    stated = stated_resources()
    return known | {kind: max(number, known.get(kind, 0)) for kind, number in stated.items()}


def stated_resources() -> dict[str, float]:
    """Return what MAREY_MAX_RESOURCES says that the cluster may grow to.

    Raises:
        UserError: it says something else.
    """
    stated = {}
    for word in filter(None, os.environ.get(GROWS_TO, "").split(",")):
        match = re.fullmatch(r"\s*(CPU|GPU)=([0-9]{1,9})\s*", word)
        if match is None:
            raise UserError(f"{GROWS_TO}={os.environ[GROWS_TO]} is not understood: write it as CPU=64,GPU=8")
        stated[match[1]] = float(match[2])
    return stated


def current_cpus() -> int:
    """Return the CPUs of the cluster as it is now, at least 1."""
    return max(1, int(current_resources().get("CPU", 1)))


def max_cpus() -> int:
    """Return the CPUs of the cluster, or of what it may grow to, at least 1."""
    return max(1, int(max_resources().get("CPU", 1)))


def max_gpus() -> int:
    """Return the GPUs of the cluster, or of what it may grow to."""
    return int(max_resources().get("GPU", 0))


def count_machines() -> int:
    """Return on how many machines the cluster runs; several of its nodes may share one."""
    return len(machines())


def machines() -> set[str]:
    """Return the addresses of the cluster's machines: their names do not tell those of many clusters apart."""
    return set(nodes().values())


def nodes() -> dict[str, str]:
    """Return the address of each node of the cluster, by its id."""
    import ray

    every = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["NodeManagerAddress"] for node in every if node["Alive"]}


def worker_resources(compute: ComputeSettings) -> dict[str, float]:
    """Return what one worker of a training takes."""
    each = {"CPU": compute.cpus_per_worker, "GPU": compute.gpus_per_worker}
    return {kind: number for kind, number in each.items() if number}


def training_resources(compute: ComputeSettings) -> dict[str, float]:
    """Return what one training takes at least."""
    return {kind: compute.fewest * number for kind, number in worker_resources(compute).items()}


def refuse_too_large(compute: ComputeSettings) -> None:
    """Raise UserError where the cluster can never hold a training's workers at once."""
    _refuse_more(compute, max_resources(), "the cluster")


def refuse_too_large_alone(compute: ComputeSettings) -> None:
    """Raise UserError where this machine cannot hold a training of one worker."""
    have = {"CPU": float(len(os.sched_getaffinity(0)))}
    if compute.gpus_per_worker:
        import torch

        have["GPU"] = float(torch.cuda.device_count())
    _refuse_more(compute, have, "this machine")


def _refuse_more(compute: ComputeSettings, have: Mapping[str, float], whose: str) -> None:
    for kind, need in training_resources(compute).items():
        if need > have.get(kind, 0):
            raise UserError(
                f"the training takes {need:g} {kind}s ({counted(compute.fewest, 'worker')}) and {whose} has "
                f"{have.get(kind, 0):g}: lower compute.workers or compute.{kind.lower()}s_per_worker"
            )
