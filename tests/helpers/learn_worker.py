"""One worker of test_parallel.py: `learn_worker.py JOB RANK WORLD STORE OUT`."""

import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from learn_toys import CASES, IDENTITY, Table, Toy

import models
from models.common.network import CHANNELS
from models.dsts import specialization
from tasks.clips.order import deal
from tasks.learn import parallel
from tasks.learn.loop import fit
from tasks.learn.score import score
from tasks.learn.settings import TrainSettings

STILL = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.Dropout)
specialization.gumbel_noise = torch.zeros_like
specialization.gate_noise = lambda draws, gates: torch.zeros(draws, *gates.shape)


def gradients(rank, world, group, scratch):
    """Gradients of every network for 3 clips, and for 1."""
    return {(case, count): gradients_of(*CASES[case], count, rank, world, group) for case in CASES for count in (3, 1)}


def gradients_of(name, options, count, rank, world, group):
    """Gradients of one step, without noise and with batch norm on its running statistics.

    Each worker has its own noise and batch statistics, with which two workers differ from one by design.
    """
    torch.manual_seed(0)
    network = models.build(name, 3, tiny=True, **options)
    table = Table(n=count, shape=(CHANNELS[network.stream], 2, 32, 32))
    (share,) = deal(torch.arange(count).numpy(), [count], rank, world)
    batch = table.batch(torch.from_numpy(share.indices), torch.full((len(share.indices),), 1.0 - share.filler), count)
    if models.describe(name, options).training_clip(network.stream).get("target") == "flow":
        flow = 20 * torch.randn(count, 2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
        batch = replace(batch, flow=flow[share.indices])
    model = parallel.wrap(network, torch.device("cpu"), group).train()
    for module in model.modules():
        if isinstance(module, STILL):
            module.eval()
    total = model(batch.clip, batch.labels, batch.sample_weights, batch.flow)["total"]
    scaled = total * parallel.global_mean_scale(batch.sample_weights, batch.count, world)
    own = torch.autograd.grad(scaled, [p for p in network.parameters() if p.requires_grad], retain_graph=True)
    scaled.backward()
    mean = {name: p.grad.clone() for name, p in network.named_parameters() if p.requires_grad}
    return {"own": [g.abs().max().item() for g in own], "mean": mean, "upstream": upstream(network, batch, rank, group)}


def upstream(network, batch, rank, group):
    """Gradients that a network computes itself, of its upstream parameters, on 3 clips or more."""
    names = [name for group in network.parameter_groups() if group.role == "upstream" for name in group.names]
    if not names or batch.count < 3:
        return {}
    halves = batch.halves(rank, 1 if group is None else dist.get_world_size(group))
    train, held_out = (half.micro_batches(1) for half in halves)
    network.gradients(train, held_out, lr=0.1, reduce=partial(parallel.sum_each, group=group))
    return {name: network.get_parameter(name).grad for name in names}


def training(rank, world, group, scratch):
    """A whole training, without batch norm and dropout (each rank draws its own)."""
    network, reports = Toy(dropout=0.0, norm=False), []
    settings = TrainSettings(epochs=2, batch_size=4, lr=0.02, log_every=2, clip_norm=1.0)
    fit(
        network,
        Table(n=21).training(),
        Table(n=9, seed=1),
        settings,
        reports.append,
        identity=IDENTITY,
        group=group,
        scratch=scratch,
    )
    return {
        "weights": network.state_dict(),
        "reports": [(p.kind, p.step, p.checkpoint is not None, p.metrics) for p in reports],
    }


def statistics(rank, world, group, scratch):
    """Batch norm statistics that each rank validates with, and its scores of everything."""
    network = Toy(dropout=0.0)
    settings = TrainSettings(epochs=1, batch_size=4, lr=0.02)
    valid = Table(n=9, seed=1)
    fit(
        network,
        Table(n=21).training(),
        valid,
        settings,
        lambda report: None,
        identity=IDENTITY,
        group=group,
        scratch=scratch,
    )
    return {"mean": network.norm.running_mean, "scores": score(network, valid.batches(rank, world), group=group)}


def diverge(rank, world, group, scratch):
    """One rank's clips are NaN: all ranks must learn of it."""
    table = Table(n=8)
    table.clips[3] = float("nan")
    settings = TrainSettings(epochs=1, batch_size=4)
    try:
        fit(Toy(), table.training(), None, settings, lambda _: None, identity=IDENTITY, group=group, scratch=scratch)
    except Exception as error:  # noqa: BLE001  (its name is the result)
        return {"error": f"{type(error).__name__}: {error}"}
    return {"error": None}


class Code:
    """What runs in every process that unpickles it."""

    def __init__(self, folder):
        self.line = f"import sys, pathlib; pathlib.Path({str(folder)!r}, 'ran-in-' + sys.argv[2]).touch()"

    def __reduce__(self):
        return exec, (self.line,)


def stranger(rank, world, group, scratch):
    """Rank 1 sends a pickle where rank 0 gathers scores."""
    try:
        if rank == 1:
            dist.all_gather_object([None] * world, Code(scratch), group)
        else:
            score(Toy(dropout=0.0), Table(n=4).batches(rank, world), group=group)
    except Exception as error:  # noqa: BLE001  (its name is the result)
        return {"error": type(error).__name__}
    return {"error": None}


def main():
    job, rank, world, store, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5])
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
        )
    torch.save(run(job, rank, world, out), out / f"{rank}.pt")
    if world > 1:
        parallel.release(dist.group.WORLD)
        dist.destroy_process_group()


def run(job, rank, world, out):
    group = dist.group.WORLD if world > 1 else None
    return globals()[job](rank, world, group, out)


if __name__ == "__main__":
    main()
