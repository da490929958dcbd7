"""Clips of TSN (8 frames, 224 pixels) by the loader, beside its reads and decoding alone, and decord on the sources.

    .venv/bin/python tests/bench/bench_feed.py [--videos 40] [--repeats 5]

CPU time of one thread, with the allocator of a training's worker; all read the same frames in turns, medians of their
ratios. Reads and decoding are `Dataset.rgb`, and, to the right, frames that are let go of one by one: the least that
reading costs. Sources are moving textures (large JPEGs, cheap H.264), real footage joined to ten seconds and coded by
x264's defaults, as ffmpeg does it, and real clips as they are.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from paths import VIDEOS

from tasks.clips import ClipLoader, ClipSettings
from tasks.clips.augment import make_raw_clip, train_crop
from tasks.clips.sampling import train_indices
from tasks.data import Dataset, PrepareSettings, open_dataset
from tasks.data.manifest import Listing, Row, build
from tasks.data.process import process_video
from tasks.data.reader import Sample
from tasks.data.shard import plan, settings_digest, write_shard
from tasks.data.tables import write_tables
from tasks.learn import host
from tasks.learn.settings import TrainSettings
from tasks.seeds import generator
from tasks.video import DecoderProcess
from tasks.video.codecs import write_mp4

CLIP = ClipSettings(segments=8)
WIDTH, HEIGHT, SECONDS, FPS = 340, 256, 10, 25
KEYFRAMES = 250
"""Distance of key frames: that of x264, and so of most videos."""
READS_ALLOWED, DECORD_ALLOWED = 0.75, 15


def write_videos(root: Path, count: int) -> list[Path]:
    """Write videos of two classes in which a texture moves."""
    files = []
    for number in range(count):
        noise = generator("texture", number).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
        still = cv2.GaussianBlur(noise, (0, 0), 1.5)
        still = np.clip(128 + 45 * still / still.std(), 0, 255).astype(np.uint8)
        files.append(root / f"class {number % 2}" / f"{number}.mp4")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        write_mp4(
            files[-1], (np.roll(still, 2 * t, 1) for t in range(SECONDS * FPS)), FPS, crf=23, keyframe_every=KEYFRAMES
        )
    return files


def join_videos(root: Path, clips: list[Path], count: int) -> list[Path]:
    """Write videos of real footage: clips one after the other, from other ones for each."""
    import av
    import decord

    files = []
    for number in range(count):
        own = itertools.islice(itertools.cycle(clips), number * len(clips) // count, None)
        frames = (
            cv2.resize(frame.asnumpy(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            for clip in own
            for frame in decord.VideoReader(str(clip), num_threads=1)
        )
        files.append(root / f"class {number % 2}" / f"joined-{number}.mp4")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(files[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
            pictures = (av.VideoFrame.from_ndarray(frame) for frame in itertools.islice(frames, SECONDS * FPS))
            for picture in itertools.chain(pictures, [None]):
                container.mux(stream.encode(picture))
    return files


def prepared(root: str, files: list[Path]) -> Dataset:
    """Prepare videos in this process, all for training."""
    settings = PrepareSettings(flow="none", short_side=HEIGHT)
    rows = [
        Row(video_id=file.stem, uri=str(file), label=file.parent.name, group=None, parts={"all": "train"})
        for file in files
    ]
    manifest, splits = build(Listing(rows), settings)
    write_tables(root, manifest, splits, settings)
    with DecoderProcess() as decoder:
        for shard in plan(manifest, settings):
            processed = [process_video(row, settings, decoder) for row in shard.take(manifest)]
            write_shard(root, shard, processed, settings_digest(settings))
    return open_dataset(root)


def by_loader(dataset: Dataset) -> Callable[[int], int]:
    """Return what reads an epoch, and counts its clips."""
    loader = ClipLoader(dataset, "train", CLIP, TrainSettings(batch_size=8, loader_threads=1))
    return lambda epoch: sum(portion.count for portion in loader.batches(epoch, 0, 1))


def drawn(sample: Sample, epoch: int) -> tuple[list[int], np.random.Generator]:
    """Return the frames of a training clip, and what draws its crop then."""
    rng = generator(CLIP.seed, epoch, sample.video_id, sample.piece_index)
    return train_indices(sample.frames, CLIP, rng).tolist(), rng


def by_reads(dataset: Dataset) -> Callable[[int], int]:
    """Return what reads and decodes the frames of the same clips."""
    samples = dataset.samples("train")

    def read(epoch: int) -> int:
        for sample in samples:
            dataset.rgb(sample, drawn(sample, epoch)[0])
        return len(samples)

    return read


def one_by_one(dataset: Dataset) -> Callable[[int], int]:
    """Return what does so without holding more than one."""
    samples = dataset.samples("train")

    def read(epoch: int) -> int:
        for sample in samples:
            for _ in dataset.each_rgb(sample, drawn(sample, epoch)[0]):
                pass
        return len(samples)

    return read


def by_decord(dataset: Dataset, files: list[Path]) -> Callable[[int], int]:
    """Return what makes the same clips of the source videos."""
    import decord

    samples = dataset.samples("train")
    sources = {file.stem: str(file) for file in files}

    def read(epoch: int) -> int:
        for sample in samples:
            wanted, rng = drawn(sample, epoch)
            video = decord.VideoReader(sources[sample.video_id], num_threads=1)
            frames = video.get_batch(wanted).asnumpy()
            make_raw_clip(frames, *train_crop(frames.shape[2], frames.shape[1], CLIP, rng), CLIP)
        return len(samples)

    return read


def cpu_ms(read: Callable[[int], int], epoch: int) -> float:
    """CPU milliseconds of a clip."""
    start = time.process_time()
    clips = read(epoch)
    return 1000 * (time.process_time() - start) / clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    host.tune_allocator(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"| reads and decoding / loader (at least {READS_ALLOWED}) | decord / loader (at least {DECORD_ALLOWED}) "
            "| videos | loader CPU ms per clip | reads and decoding | one by one | decord |"
        )
        print("|---" * 7 + "|")
        sets = {f"moving textures of {SECONDS} s, {WIDTH} x {HEIGHT}": write_videos(Path(folder), arguments.videos)}
        if VIDEOS.is_dir():
            surveillance = sorted(VIDEOS.glob("fight_surv/*/*.mp4"))
            sets[f"joined from surveillance, {SECONDS} s, {WIDTH} x {HEIGHT}"] = join_videos(
                Path(folder, "joined"), surveillance, arguments.videos
            )
            sets["ud810 PS7 gestures"] = sorted(VIDEOS.glob("arm_gestures/*/*.avi"))[: arguments.videos]
            sets["surveillance"] = surveillance[: arguments.videos]
        for number, (name, files) in enumerate(sets.items()):
            dataset = prepared(str(Path(folder, f"dataset-{number}")), files)
            reads = [by_loader(dataset), by_reads(dataset), one_by_one(dataset), by_decord(dataset, files)]
            turns = [[cpu_ms(read, epoch) for read in reads] for epoch in range(arguments.repeats + 1)][1:]
            loader, own, single, decord_ = (statistics.median(column) for column in zip(*turns, strict=True))
            share = statistics.median(turn[1] / turn[0] for turn in turns)
            times = statistics.median(turn[3] / turn[0] for turn in turns)
            what = f"{len(files)} {name}"
            print(
                f"| **{share:.2f}** | **{times:.1f}** | {what} | {loader:.2f} | {own:.2f} | {single:.2f} "
                f"| {decord_:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
