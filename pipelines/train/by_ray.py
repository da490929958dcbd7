"""A training whose workers Ray Train starts, on any number of machines."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from cluster import ray_internals
from cluster.environment import set_where_unset
from pipelines.compute import capacity
from pipelines.tracking import mask_of, workspace
from pipelines.tracking.workspace import ray_storage
from pipelines.train.stopping import Stopping
from pipelines.train.variables import variables
from pipelines.train.waiting import Waiting
from pipelines.train.worker import Job, work


def fit_by_ray(job: Job, callbacks: tuple[Any, ...], console: AbstractContextManager[object]) -> bool:
    """Run the workers; return whether training came to its end: it does not where the user stops it.

    Args:
        job: what each worker is told.
        callbacks: callbacks of Ray Train.
        console: shows the progress while its context is open.
    """
    import ray.train
    from ray.exceptions import RayActorError
    from ray.train.torch import TorchTrainer

    from pipelines.train.rendezvous import NodeAddresses
    from pipelines.train.restarts import Recount, Restarts, cause_of

    compute = job.recipe.compute
    trainer = TorchTrainer(
        work,  # type: ignore[arg-type]
        train_loop_config={"job": job},
        torch_config=NodeAddresses(umask=mask_of(workspace())),
        scaling_config=ray.train.ScalingConfig(  # type: ignore[call-arg]
            num_workers=compute.workers,  # type: ignore[arg-type]
            elastic_resize_monitor_interval_s=compute.resize_every_s,
            use_gpu=compute.gpus_per_worker > 0,
            resources_per_worker=capacity.worker_resources(compute),
        ),
        run_config=ray.train.RunConfig(
            name=job.folder.name,
            **ray_storage(job.folder.address.rpartition("/")[0]),
            failure_config=ray.train.FailureConfig(max_failures=-1),
            callbacks=[Recount(), Restarts(compute.max_failures), *callbacks],  # type: ignore[list-item]
        ),
    )
    ray_internals.reserve_as(trainer, job.run_id)
    ray_internals.recount_nodes()  # so that an elastic training starts with the machines that have just joined
    told = set_where_unset(variables(compute, drains=job.drains))
    with told, Waiting(compute) as waiting, Stopping(job.folder) as stopping, console:
        try:
            result = stopping.run(trainer.fit, waiting.are_workers_running)
        except (RayActorError, ray.train.TrainingFailedError) as error:
            raise cause_of(error, job.folder.name) from error
    return result.return_value is not False  # type: ignore[attr-defined]
