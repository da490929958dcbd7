"""One worker of a training by plain torch: `learn_worker.py JOB RANK WORLD STORE OUT JSON`; `run_workers` runs all."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from learn_toys import CASES, IDENTITY, Table, Toy

import models
from models.common.network import CHANNELS
from tasks.clips.order import deal
from tasks.errors import UserError
from tasks.learn import parallel
from tasks.learn.agreement import weights_sha256
from tasks.learn.batch import Portion
from tasks.learn.loop import fit
from tasks.learn.score import score
from tasks.learn.settings import TrainSettings
from tasks.learn.sums import ExactSum, FastSum
from tasks.learn.update import Updates


def run_workers(job, world, folder, **arguments):
    """Run a job on `world` processes and return each rank's result."""
    folder.mkdir(parents=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, job, str(rank), str(world), folder / "store", folder, json.dumps(arguments)],
            env=environment,
            stderr=(folder / f"{rank}.err").open("wb"),
        )
        for rank in range(world)
    ]
    codes = [worker.wait(timeout=600) for worker in workers]
    said = [(folder / f"{rank}.err").read_text() for rank in range(world)]
    assert codes == [0] * world, said
    return [torch.load(folder / f"{rank}.pt", weights_only=False) | {"said": said[rank]} for rank in range(world)]


def network_of(case):
    """Build the network of a case, with dropout and all other noise, and clips for it."""
    name, options = CASES[case]
    torch.manual_seed(0)
    network = models.build(name, 3, tiny=True, dropout=0.5, **options)
    about = models.describe(name, options).training_clip(network.stream)
    return network, about.get("target") == "flow"


def steps(rank, world, group, scratch, case, sums, number_of_steps, double=False, recompute=None):
    """Take a step of 7 clips, in 3 shares, and one in a single share; return what the weights are then.

    Unless told otherwise, three workers compute the blocks of the network again.
    """
    network, flow = network_of(case)
    network = network.double() if double else network
    mixing = {"label_smoothing": 0.0 if double else 0.1}  # the loss of parts of labels is rounded to float32
    if not (flow or double):
        mixing |= {"mixup": 0.8, "cutmix": 1.0}
    again = world == 3 if recompute is None else recompute
    settings = TrainSettings(
        batch_size=8, micro_batches=4, lr=0.1, momentum=0.9, clip_norm=5.0, sums=sums, recompute=again, **mixing
    )
    updates = Updates(network, settings, torch.device("cpu"), group)
    updates.wrap()
    updates.model.train()
    figures = []
    counts = [8, 5] if updates.upstream else [7, 3]
    for number, count in enumerate(counts[:number_of_steps]):
        table = Table(n=count, shape=(CHANNELS[network.stream], 2, 32, 32), seed=number)
        (own,) = deal(torch.arange(count).numpy(), [count], rank, world, shares=4, smallest=updates.smallest)
        shares = [table.batch(indices, s, count) for s, indices in enumerate(own.shares, own.first)]
        if double:
            shares = [replace(one, clip=one.clip.double()) for one in shares]
        if flow:
            target = 20 * torch.randn(count, 2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
            shares = [replace(one, flow=target[indices]) for one, indices in zip(shares, own.shares, strict=True)]
        figures.append(updates.take(Portion(shares, own.first, own.of, own.count), number, number / 9, settings.lr))
    return {
        "sha256": weights_sha256(network),
        "figures": figures,
        "shares": len(own.shares),
        "weights": {name: value.clone() for name, value in network.state_dict().items()},
    }


def cases(rank, world, group, scratch, runs):
    """Several of `steps`, by name."""
    return {name: steps(rank, world, group, scratch, **arguments) for name, arguments in runs.items()}


def training(rank, world, group, scratch, sums="exact", **settings):
    """A whole training, with batch norm and dropout; the last step of an epoch has two shares, others four."""
    network, reports = Toy(), []
    common = {"epochs": 2, "batch_size": 8, "micro_batches": 4, "lr": 0.02, "log_every": 2, "clip_norm": 1.0}
    mixing = {"label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0, "ema_decay": 0.9, "class_weights": {"jump": 3.0}}
    settings = TrainSettings(**common | mixing | settings, sums=sums)
    fit(
        network,
        Table(n=21, batch_size=8).training(settings.shares),
        Table(n=9, seed=1),
        settings,
        reports.append,
        identity=IDENTITY,
        group=group,
    )
    return {
        "weights": network.state_dict(),
        "reports": [(p.kind, p.step, p.checkpoint is not None, p.metrics) for p in reports],
    }


def add(rank, world, group, scratch, kind, most):
    """Sums of random tensors over any number of shares; sha256 of them all."""
    results = {}
    for shares in range(1, most + 1):
        leaves = [leaf(number) for number in range(shares)]
        own = range(shares * rank // world, shares * (rank + 1) // world)
        adding = ExactSum(own.start, shares, group) if kind == "exact" else FastSum(group)
        for number in own:
            adding.add([tensor.clone() for tensor in leaves[number]])
        results[shares] = adding.total([torch.empty_like(tensor) for tensor in leaf(0)])
    return {"sums": results}


def leaf(number):
    """Tensors of random magnitudes and types; a share's contribution to a sum."""
    rng = torch.Generator().manual_seed(number)
    sizes = [(7,), (), (3, 5), (1,), (2, 0), (4001,)]
    tensors = [torch.randn(size, generator=rng) * 10.0 ** torch.randint(-9, 9, size, generator=rng) for size in sizes]
    tensors[0][:2] = torch.tensor([-0.0, 0.0])
    return [*tensors, torch.randn(3, generator=rng, dtype=torch.float64)]


def diverge(rank, world, group, scratch):
    """One clip is NaN: all ranks must learn of it."""
    table = Table(n=8)
    table.clips[3] = float("nan")
    settings = TrainSettings(epochs=1, batch_size=8, micro_batches=4)
    return error_of(Toy(), table, settings, group, scratch)


def flipped(rank, world, group, scratch):
    """A bit of rank 1's weights flips on the way."""

    class Flipped(Toy):
        def begin_step(self, epoch):
            if epoch == 0.5 and rank == 1:
                self.fc.weight.data.view(torch.int32)[0, 0] ^= 1

    settings = TrainSettings(epochs=1, batch_size=8, micro_batches=4)
    return error_of(Flipped(), Table(n=16, batch_size=8), settings, group, scratch)


def error_of(network, table, settings, group, scratch):
    try:
        source = table.training(settings.shares)
        fit(network, source, None, settings, lambda _: None, identity=IDENTITY, group=group)
    except UserError as error:
        return {"error": str(error)}
    return {"error": None}


def scores(rank, world, group, scratch):
    """Scores of a table's rows in batches of 4, of which the last is smaller."""
    network = Toy(dropout=0.0)
    return {"scores": score(network, Views().batches(rank, world), group=group)}


class Views(Table):
    """Five videos of 1 to 9 views, so that batches and workers cut them anywhere."""

    def __init__(self):
        super().__init__(n=21, batch_size=4)
        self.clips *= 100 ** torch.randn(21, generator=torch.Generator().manual_seed(0)).view(-1, 1, 1, 1, 1)
        self.videos = ["a"] + ["b"] * 9 + ["c"] * 3 + ["d"] * 7 + ["e"]

    def batch(self, indices, number=0, count=None):
        return replace(super().batch(indices, number, count), video_ids=[self.videos[int(i)] for i in indices])


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
    job, rank, world, store, out, arguments = sys.argv[1:]
    rank, world = int(rank), int(world)
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
        )
    group = dist.group.WORLD if world > 1 else None
    torch.save(globals()[job](rank, world, group, Path(out), **json.loads(arguments)), f"{out}/{rank}.pt")
    if world > 1:
        parallel.release(dist.group.WORLD)
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
