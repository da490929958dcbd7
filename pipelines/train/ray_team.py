"""The workers of a training as Ray Train has started them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import ray.train
import ray.train.torch
import ray.util
import torch
import torch.distributed as dist
from ray.train.collective import broadcast_from_rank_zero

from pipelines.tracking import RunFolder
from pipelines.tracking.system import Place
from pipelines.tracking.workspace import ray_storage

T = TypeVar("T")


class RayTeam:
    """A team within Ray Train, of any size."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        context = ray.train.get_context()
        self.size: int = context.get_world_size()
        self.place = Place(
            rank=context.get_world_rank(),
            local_rank=context.get_local_rank(),
            several_machines=context.get_local_world_size() < self.size,
            address=str(ray.util.get_node_ip_address()),  # type: ignore[no-untyped-call]
        )
        self.device: torch.device = ray.train.torch.get_device()
        self.group: dist.ProcessGroup | None = dist.group.WORLD if self.size > 1 else None

    def from_rank_0(self, value: T | None) -> T:
        """Return the value that rank 0 gives."""
        if self.size == 1:
            assert value is not None
            return value
        return broadcast_from_rank_zero(value)  # type: ignore[no-any-return]

    def preemption(self) -> ray.train.PreemptionInfo | None:
        """Return which machines are taken away."""
        return ray.train.get_preemption_info()  # type: ignore[no-any-return]

    def report(self, metrics: Mapping[str, float], checkpoint: str, write: Callable[[], None] | None) -> None:
        """Report to Ray Train's controller, whose thread for uploads writes the checkpoint."""
        made = None
        if write is not None:
            there = ray_storage(self._folder.place(checkpoint))
            made = ray.train.Checkpoint(there["storage_path"], there.get("storage_filesystem"))

        def upload(made: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
            assert write is not None  # Ray calls this only where there is a checkpoint
            write()
            return made

        ray.train.report(
            dict(metrics),
            checkpoint=made,
            checkpoint_dir_name=checkpoint,
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=upload,
            delete_local_checkpoint_after_upload=False,  # it is where it stays
        )
