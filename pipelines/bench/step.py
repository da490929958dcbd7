"""`marey bench step`: how fast the steps of a recipe are on this machine, beside its loader."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from models import build, describe
from pipelines.bench.loader import LoaderSpeed, measure
from pipelines.errors import UserError
from pipelines.recipe import Recipe, check_dataset, clip_settings, open_data
from pipelines.text import columns
from tasks.clips import ClipLoader
from tasks.learn.laps import STEP
from tasks.words import counted

if TYPE_CHECKING:
    from tasks.learn import Report
    from tasks.learn.batch import Portion


@dataclass(frozen=True, kw_only=True)
class StepSpeed:
    """How fast one worker takes the steps of a recipe, all shares of each, with clips that are in memory."""

    network: str
    device: str
    batch_size: int
    shares: int
    steps: int
    """Steps that were measured, after as many to warm up."""
    step_ms: float
    clips_per_s: float
    percent: dict[str, float]
    """Parts of the time of a step."""
    loader: LoaderSpeed
    """The same clips, read by the recipe's loader alone."""
    saved_by_free_loader_percent: float
    """How much less time a training would take with free clips, where loader and steps do not share processors."""


class _Held:
    """Steps whose clips are in memory, as a source of a training."""

    def __init__(self, portions: list[Portion], loader: ClipLoader) -> None:
        self.portions, self.label_counts = portions, loader.label_counts

    def steps(self, epoch: int) -> int:
        return len(self.portions)

    def batches(self, epoch: int, rank: int, world: int, start_step: int) -> Generator[Portion, None, None]:
        yield from self.portions[start_step:]


def bench_step(recipe: Recipe, *, steps: int = 5) -> StepSpeed:
    """Take the first steps of a recipe's training, twice, by one worker in this process, without Ray and MLflow.

    Raises:
        UserError: the dataset does not suit the recipe, or there is no GPU where the recipe wants one.
    """
    import torch

    from tasks.learn import Identity, fit, host
    from tasks.learn.optim import smallest_share
    from tasks.seeds import seed

    dataset = open_data(recipe)
    check_dataset(dataset, recipe)
    clip = clip_settings(recipe, dataset.classes)
    gpu = recipe.compute.gpus_per_worker > 0
    if gpu and not torch.cuda.is_available():
        raise UserError("compute.gpus_per_worker asks for a GPU, and torch sees none here: set it to 0")
    host.tune_allocator(threads=max(1, int(recipe.compute.cpus_per_worker)))
    settings = replace(recipe.train, epochs=2, log_every=steps + 1, checkpoint_steps=0)
    torch.manual_seed(seed(settings.seed, "weights"))
    model = recipe.model
    network = build(model.name, len(dataset.classes), stream=model.stream, **model.options)
    loader = ClipLoader(dataset, "train", clip, settings, smallest_share(network))
    with closing(loader.batches(0, 0, 1)) as portions:
        held = list(islice(portions, steps))
    identity = Identity(
        model=model.name, stream=model.stream, options={}, classes=dataset.classes, recipe={}, dataset_digest=""
    )
    reports: list[Report] = []
    device = "cuda" if gpu else "cpu"
    fit(
        network,
        _Held(held, loader),
        None,
        settings,
        reports.append,
        identity=identity,
        device=device,
        checkpoints=False,
    )
    metrics = reports[-1].metrics
    clips = sum(portion.count for portion in held)
    alone = measure(dataset, clip, recipe.train, clips, settings.loader_threads)
    speed = metrics["workers/clips_per_s"]
    return StepSpeed(
        network=f"{describe(model.name, model.options).name}, {model.stream}",
        device=device,
        batch_size=held[0].count,
        shares=held[0].of,
        steps=len(held),
        step_ms=metrics["workers/step_ms"],
        clips_per_s=speed,
        percent={name: metrics[f"workers/epoch/{name}_percent"] for name in PARTS},
        loader=alone,
        saved_by_free_loader_percent=max(0.0, 100 * (1 - alone.clips_per_s / speed)),
    )


PARTS = [name for name in STEP if name not in ("wait", "report")]
"""Parts of a step that are not the loader's."""


def to_text(speed: StepSpeed) -> str:
    """Return the figures and what they come to as text."""
    parts = [f"{name} {percent:.0f}" for name, percent in speed.percent.items() if percent >= 0.5]
    rows = [
        (
            "network",
            f"{speed.network}: {counted(speed.batch_size, 'clip')} per step in {counted(speed.shares, 'share')}, "
            f"on {speed.device}",
        ),
        ("steps", f"{speed.clips_per_s:.4g} clips/s, {speed.step_ms:.4g} ms per step, with clips in memory"),
        ("time in %", ", ".join(parts)),
        ("loader", f"{speed.loader.clips_per_s:.4g} clips/s alone, by {counted(speed.loader.threads, 'thread')}"),
    ]
    saved = speed.saved_by_free_loader_percent
    verdict = (
        f"the loader is the limit: with a free one a training would take {saved:.0f} % less time (raise "
        "train.loader_threads and compute.cpus_per_worker)"
        if saved >= 1
        else "the network is the limit: a faster loader would gain nothing"
    )
    return "\n".join([*columns(rows), verdict])
