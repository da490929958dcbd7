"""A training of two workers on two hosts; writes what listens meanwhile on each host, as JSON, to argv[1].

For each host, by its address: all listeners, and those on no address of their own that let a stranger in, as another
host finds them.
"""

import json
import sys
from dataclasses import astuple
from pathlib import Path

from cluster.attach import attach

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import listeners

    out = Path(sys.argv[1])
    attach()
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    from pipelines.train.rendezvous import NodeAddresses

    head = (ray.util.get_node_ip_address(), [astuple(listener) for listener in listeners.of_host()])

    def loop() -> None:
        """Use the group, so that all of its connections are there, list what listens, and knock at another host."""
        sys.path.insert(0, str(Path(__file__).parent))
        import listeners
        import ray
        import ray.train
        import torch
        import torch.distributed as dist

        from tasks.learn import parallel

        rank = dist.get_rank()
        gathered = parallel.gather(torch.arange(rank + 1.0), dist.group.WORLD)
        assert [values.tolist() for values in gathered] == [[0.0], [0.0, 1.0]]
        mine = (ray.util.get_node_ip_address(), [astuple(listener) for listener in listeners.of_host()])
        Path(out.parent, f"listed-{rank}").write_text(json.dumps(mine))
        dist.barrier()
        others = [json.loads(Path(out.parent, f"listed-{1 - rank}").read_text()), *([head] if rank == 0 else [])]
        for address, found in others:
            lets_in = []
            for listener in (listeners.Listener(*each) for each in found):
                anywhere = not listener.on_loopback and listener.address != address
                if anywhere and not listener.refuses_a_stranger(address) and not listener.shows_counters(address):
                    lets_in.append(astuple(listener))
            Path(out.parent, f"{address}.json").write_text(json.dumps({"found": found, "lets_in": lets_in}))
        dist.barrier()  # what a host listens on is there until it has been tried

    TorchTrainer(
        loop,
        torch_config=NodeAddresses(),
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=str(out.parent), name="listening"),
    ).fit()
    found = {path.stem: json.loads(path.read_text()) for path in out.parent.glob("10.*.json")}
    out.write_text(json.dumps(found))
