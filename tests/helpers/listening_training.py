"""A training of two workers on a Ray of its own; rank 0 writes what listens meanwhile, as JSON, to argv[1]."""

import json
import sys
from dataclasses import astuple
from pathlib import Path

import psutil

from cluster.attach import attach

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    out = Path(sys.argv[1])
    attach("local", num_cpus=3)
    import ray.train
    from ray.train.torch import TorchTrainer

    from pipelines.train.rendezvous import NodeAddresses

    here = psutil.Process().pid

    def loop() -> None:
        """Use the group, so that all of its connections are there, and list what listens."""
        sys.path.insert(0, str(Path(__file__).parent))
        import listeners
        import torch
        import torch.distributed as dist

        from tasks.learn import parallel

        rank = dist.get_rank()
        gathered = parallel.gather(torch.arange(rank + 1.0), dist.group.WORLD)
        assert [values.tolist() for values in gathered] == [[0.0], [0.0, 1.0]]
        if rank == 0:
            found = listeners.of([psutil.Process(here), *psutil.Process(here).children(recursive=True)])
            out.write_text(json.dumps([astuple(listener) for listener in found]))
        dist.barrier()

    TorchTrainer(
        loop,
        torch_config=NodeAddresses(),
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=str(out.parent), name="listening"),
    ).fit()
