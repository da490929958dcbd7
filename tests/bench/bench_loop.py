"""Supply of the training loop: clips/s of the loader beside JPEG decoding alone, and the wait for data."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import cv2
import torch
from small_dataset import write_dataset

import models
from tasks.clips import ClipLoader, ClipSettings
from tasks.data import Dataset, open_dataset
from tasks.learn import host
from tasks.learn.checkpoint import Identity
from tasks.learn.loop import Report, fit
from tasks.learn.settings import TrainSettings
from tasks.video.codecs import decode_rgb, jpeg_rgb

CLIP = ClipSettings(segments=8)
SMALL, MIDDLE = ClipSettings(segments=8, size=64), ClipSettings(segments=8, size=112)
EPOCHS = 5
WAIT_ALLOWED = 2
"""Per cent of a training's time, where one core is enough for its loader."""


def decode_seconds(dataset: Dataset) -> float:
    """CPU seconds to decode one stored frame."""
    frame = dataset.rgb(dataset.samples("train")[0], [0])
    (jpeg,) = jpeg_rgb(frame, 95)
    start = time.process_time()
    for _ in range(300):
        decode_rgb(jpeg)
    return (time.process_time() - start) / 300


def loader(dataset: Dataset, threads: int) -> tuple[float, float]:
    """CPU seconds per clip of the loader alone, and clips per second: medians of some epochs."""
    loader = ClipLoader(dataset, "train", CLIP, TrainSettings(batch_size=8, loader_threads=threads))
    cpu, rates = [], []
    for epoch in range(EPOCHS):
        start, cpu_start = time.perf_counter(), time.process_time()
        clips = sum(portion.count for portion in loader.batches(epoch, 0, 1))
        cpu.append((time.process_time() - cpu_start) / clips)
        rates.append(clips / (time.perf_counter() - start))
    return statistics.median(cpu), statistics.median(rates)


def training(dataset: Dataset, name: str, clip: ClipSettings, batch_size: int) -> tuple[float, dict[str, float]]:
    """CPU milliseconds per clip of a training, and the loop's own figures of its last epoch."""
    reports: list[Report] = []
    cpu: list[float] = []

    def keep(report: Report) -> None:
        reports.append(report)
        cpu.append(time.process_time())

    settings = TrainSettings(epochs=3, batch_size=batch_size, loader_threads=1, log_every=999)
    loader = ClipLoader(dataset, "train", clip, settings)
    identity = Identity(
        model=name, stream="rgb", options={"tiny": True}, classes=dataset.classes, recipe={}, dataset_digest=""
    )
    network = models.build(name, len(dataset.classes), tiny=True)
    fit(network, loader, None, settings, keep, identity=identity, checkpoints=False)
    # The first epoch warms up.
    return 1000 * (cpu[-1] - cpu[0]) / (len(cpu) - 1) / len(loader.samples), reports[-1].metrics


def main() -> None:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        full = open_dataset(write_dataset(Path(folder) / "full", videos=32, size=(256, 340), frames=40, texture=True))
        seconds = decode_seconds(full)
        print(f"Frames 340x256, JPEG quality 95, {1000 * seconds:.2f} ms to decode; clips of 8 frames, 224x224\n")
        print("| share of JPEG decoding | loader CPU ms per clip | clips/s | threads |\n|---|---|---|---|")
        for threads in (1, 2):
            cpu, rate = loader(full, threads)
            share = 100 * CLIP.segments * seconds / cpu
            print(f"| {share:.0f} % | {1000 * cpu:.1f} | {rate:.1f} | {threads} |", flush=True)
        small = open_dataset(write_dataset(Path(folder) / "small", videos=32, size=(72, 96), frames=40, texture=True))
        print(f"\nTraining on clips of 8 frames 64x64, {torch.get_num_threads()} threads of torch, 1 of the loader\n")
        print("| network (tiny) | CPU ms per clip | clips/s | data wait |\n|---|---|---|---|")
        for name in ("tsn", "stm"):
            cpu, speed = training(small, name, SMALL, 16)
            print(
                f"| {name} | {cpu:.1f} | {speed['workers/clips_per_s']:.1f} "
                f"| {speed['workers/data_wait_percent']:.1f} % |",
                flush=True,
            )
        many = open_dataset(write_dataset(Path(folder) / "many", videos=160, size=(256, 340), frames=9, texture=True))
        host.tune_allocator(threads=1)
        print(
            "\nTraining on clips of 8 frames 112x112 of 340x256, 1 thread of torch, 1 of the loader "
            f"(at most {WAIT_ALLOWED} %)\n"
        )
        print("| data wait | saved by a free loader | until the first clips | network (tiny) | clips/s |")
        print("|---" * 5 + "|")
        for name in ("tsn", "stm"):
            _, speed = training(many, name, MIDDLE, 8)
            print(
                f"| **{speed['workers/data_wait_percent']:.2f} %** "
                f"| {speed['workers/epoch/saved_by_free_loader_percent']:.2f} % "
                f"| {1000 * speed['workers/epoch/first_batch_s']:.0f} ms | {name} "
                f"| {speed['workers/clips_per_s']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
