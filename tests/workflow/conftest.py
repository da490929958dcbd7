"""One Ray, one prepared dataset and one trained run for all workflow tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pytest
from paths import ROOT
from prepared import prepare_here
from s3 import Proxy
from squares import SETTINGS

from pipelines import recipe as recipes
from pipelines.prepare import PrepareResult, prepare
from pipelines.recipe import DataSettings, ModelSettings, Recipe
from pipelines.train import publish
from tasks.data.settings import PrepareSettings
from tasks.learn.settings import TrainSettings
from tasks.seeds import generator
from tasks.video import TVL1
from tasks.video.codecs import write_mp4

CLASSES = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40), "white": (220, 220, 210)}
PARTS = {"train": 6, "val": 2, "test": 2}


def moving_square(colour: tuple[int, int, int], seed: int, frames: int = 12, size: int = 64) -> np.ndarray:
    """A square of the colour that crosses a noisy background: uint8 [frames, size, size, 3]."""
    rng = generator(seed, "square")
    video = rng.integers(60, 110, (frames, size, size, 3), dtype=np.uint8)
    top, left = rng.integers(0, size // 4, 2)
    for index, frame in enumerate(video):
        frame[top + index : top + index + 30, left + index : left + index + 30] = colour
    return video


@pytest.fixture(scope="session")
def proxy() -> Iterator[Proxy]:
    """The address of an object store, which Ray's workers know from their start; `s3` lets it answer."""
    proxy = Proxy()
    with pytest.MonkeyPatch.context() as patch, proxy.listener:
        for name, value in proxy.environment().items():
            patch.setenv(name, value)
        fsspec.config.set_conf_env(fsspec.config.conf)  # it read the environment when it was imported
        yield proxy


@pytest.fixture(scope="module")
def s3(proxy: Proxy) -> Iterator[Proxy]:
    """An object store with a bucket `marey`."""
    with proxy.serving():
        fsspec.filesystem("s3").mkdir("marey")
        yield proxy


@pytest.fixture(scope="session")
def ray(proxy):
    """A Ray of two CPUs that nobody else uses."""
    from cluster.attach import attach

    os.environ.pop("RAY_ADDRESS", None)
    attach("local", num_cpus=2)
    import ray

    yield ray
    ray.shutdown()


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the network's export for the registry out of trainings whose test does not look at it: 8 s of a core."""
    monkeypatch.setattr(publish, "store_networks", lambda *_: None)


@pytest.fixture
def joining(ray) -> dict[str, str]:
    """Environment of a process that is to join this Ray, which costs seconds less than to start one of its own."""
    return {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """A folder of 40 real mp4 files in 4 classes that their colour tells apart, with train, val and test."""
    root = tmp_path_factory.mktemp("videos")
    for part, count in PARTS.items():
        for label, colour in CLASSES.items():
            for number in range(count):
                path = root / part / label / f"{label}-{part}-{number}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = number + 100 * list(PARTS).index(part) + 1000 * list(CLASSES).index(label)
                write_mp4(path, moving_square(colour, seed), 8, qp=20)
    return root


@pytest.fixture(scope="session")
def dataset(videos, tmp_path_factory) -> str:
    """The videos prepared, with flow, in three shards."""
    settings = PrepareSettings(short_side=64, shard_videos=16, tvl1=TVL1(scales=2, warps=1, outer_iterations=2))
    return prepare_here(videos, tmp_path_factory.mktemp("prepared") / "squares", settings)


@pytest.fixture(scope="session")
def recipe(dataset) -> Recipe:
    """Trains the smallest network on the squares: a few seconds."""
    return Recipe(
        name="squares",
        data=DataSettings(dataset=dataset),
        model=ModelSettings(name="tsn", options={"tiny": True}),
        input={"size": 32, "segments": 2},
        train=TrainSettings(
            epochs=3,
            batch_size=8,
            micro_batches=2,
            lr=0.05,
            schedule="constant",
            log_every=1,
            loader_threads=1,
            keep_checkpoints=1,
        ),
    )


@dataclass(frozen=True)
class Trained:
    """A finished run and its workspace."""

    work: Path
    recipe: Recipe
    run_id: str


@pytest.fixture(scope="session")
def trained(ray, dataset, tmp_path_factory) -> Trained:
    """A run named `squares`, trained on the squares; tests only read it."""
    from pipelines.train import train

    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_WORK", str(work))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        # In six of six trials with other seeds these settings knew every val video at some epoch: so on any processor.
        longer = {"train.epochs": 12, "train.batch_size": 4, "train.micro_batches": 1, "train.lr": 0.01}
        made = recipes.replaced(recipe.__wrapped__(dataset), longer)  # type: ignore[attr-defined]
        return Trained(work, made, train(made, profile=2).run_id)


@pytest.fixture(scope="session")
def whole(ray, videos, tmp_path_factory) -> PrepareResult:
    """The 40 squares in five shards, prepared without disturbance; tests only read it."""
    return prepare(str(videos), str(tmp_path_factory.mktemp("whole") / "out"), settings=SETTINGS, progress=False)
