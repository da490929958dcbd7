"""`marey bench loader`: how fast training clips of a dataset are read on this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from models import describe
from pipelines.recipe import Recipe, clip_settings, published_clip
from pipelines.text import columns
from tasks.clips import ClipLoader, ClipSettings
from tasks.data import Dataset, open_dataset
from tasks.learn.settings import TrainSettings
from tasks.words import counted

if TYPE_CHECKING:
    from tasks.learn.batch import Portion

NETWORK = "tsn"
"""Its clips are read where no recipe is given."""


@dataclass(frozen=True, kw_only=True)
class LoaderSpeed:
    """How fast clips are read where nothing else is done."""

    dataset: str
    stream: str
    frames: int
    """Frames of a clip, or flow pairs."""
    size: int
    threads: int
    clips: int
    """Clips that were measured."""
    clips_per_s: float
    cpu_ms_per_clip: float
    decode_percent: float
    """Part of the threads' time in reading and decoding."""
    augment_percent: float
    """Part of their time in cropping, resizing and changing."""
    first_batch_s: float
    """Wait for the first step's clips, which counts in nothing else."""


def bench_loader(
    dataset: str | Path, *, recipe: Recipe | None = None, clips: int = 256, threads: int | None = None
) -> LoaderSpeed:
    """Read training clips of a dataset, by one worker that does nothing else.

    Args:
        dataset: folder or URL of the prepared dataset.
        recipe: what clips are read, by how many threads and in what steps; None takes TSN's, and the defaults.
        clips: number of clips to measure; a smaller dataset is read several times.
        threads: threads of the loader, in place of the recipe's.

    Raises:
        UserError: the dataset cannot be read, or is not as the recipe wants it.
    """
    split, fold = (recipe.data.split, recipe.data.fold) if recipe else (None, None)
    opened = open_dataset(dataset, split, fold)
    clip = clip_settings(recipe, opened.classes) if recipe else published_clip(describe(NETWORK), "rgb")
    settings = recipe.train if recipe else TrainSettings(batch_size=16)
    return measure(opened, clip, settings, clips, threads or settings.loader_threads)


def measure(dataset: Dataset, clip: ClipSettings, settings: TrainSettings, clips: int, threads: int) -> LoaderSpeed:
    """Read steps of a training until they hold so many clips."""
    loader = ClipLoader(dataset, "train", clip, replace(settings, loader_threads=threads))
    read, decode_s, augment_s = 0, 0.0, 0.0
    begin = time.perf_counter()
    with closing(_steps(loader)) as steps:
        next(steps)
        started, cpu = time.perf_counter(), time.process_time()
        for portion in steps:
            read += portion.count
            decode_s += sum(share.decode_s for share in portion.shares)
            augment_s += sum(share.augment_s for share in portion.shares)
            if read >= clips:
                break
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return LoaderSpeed(
        dataset=dataset.uri,
        stream=clip.stream,
        frames=clip.segments * clip.snippet,
        size=clip.size,
        threads=threads,
        clips=read,
        clips_per_s=read / seconds,
        cpu_ms_per_clip=1000 * cpu / read,
        decode_percent=100 * decode_s / (seconds * threads),
        augment_percent=100 * augment_s / (seconds * threads),
        first_batch_s=started - begin,
    )


def _steps(loader: ClipLoader) -> Generator[Portion, None, None]:
    for epoch in itertools.count():
        with closing(loader.batches(epoch % loader.settings.epochs, 0, 1)) as portions:
            yield from portions


def to_text(speed: LoaderSpeed) -> str:
    """Return the figures as text."""
    rows = [
        ("clips", f"{speed.frames} x {speed.size} x {speed.size}, {speed.stream}, of {speed.dataset}"),
        (
            "speed",
            f"{speed.clips_per_s:.4g} clips/s, {speed.cpu_ms_per_clip:.3g} CPU ms each, by "
            f"{counted(speed.threads, 'thread')}",
        ),
        ("threads", f"{speed.decode_percent:.0f} % decode, {speed.augment_percent:.0f} % augment"),
        ("first", f"{speed.first_batch_s:.2g} s until the first step's clips were there"),
    ]
    return "\n".join(columns(rows))
