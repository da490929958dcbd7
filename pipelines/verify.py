"""Read a prepared dataset again, as Ray tasks, and say everything that is not as it was written."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from cluster.attach import attach
from pipelines.prepare_tasks import cpus
from pipelines.progress import Progress
from tasks.data import storage, tables
from tasks.data.verify import verify_dataset, verify_shard

SHARDS_PER_CPU = 2


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What was compared, and what differs."""

    dataset: str
    shards: int
    videos: int
    differences: list[str]
    """A sentence each."""

    def __str__(self) -> str:
        found = f"{len(self.differences)} differences" if self.differences else "no difference"
        return f"{found} in {self.shards} shards of {self.videos} videos: {self.dataset}"


@ray.remote(num_cpus=1)
def _verify_shard(root: str, index: int) -> list[str]:
    return verify_shard(root, index)


def verify(dataset: str, *, address: str | None = None, progress: bool = True) -> VerifyResult:
    """Compare every byte, count and image of a dataset with its sidecars, tables and description.

    Args:
        dataset: folder or fsspec URL.
        address: of a Ray cluster; None for RAY_ADDRESS, else this machine.
        progress: show it.

    Raises:
        UserError: no prepared dataset is there.
    """
    root = storage.absolute(dataset)
    description = tables.read_description(root)
    differences = {-1: verify_dataset(root)}
    attach(address)
    shards = iter(range(description["shards"]))
    busy: dict[ray.ObjectRef[list[str]], int] = {}
    with Progress(description["shards"], "shards", shown=progress) as bar:
        while True:
            for _, index in zip(range(SHARDS_PER_CPU * cpus() - len(busy)), shards, strict=False):
                busy[_verify_shard.remote(root, index)] = index
            if not busy:
                break
            ready, _ = ray.wait(list(busy), timeout=1.0)
            for ref in ready:
                differences[busy.pop(ref)] = ray.get(ref)
            bar.update(len(ready))
    return VerifyResult(
        dataset=root,
        shards=description["shards"],
        videos=description["videos"],
        differences=[text for index in sorted(differences) for text in differences[index]],
    )
