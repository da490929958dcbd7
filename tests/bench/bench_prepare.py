"""Preparation: frames/s end to end beside its steps alone, and the driver's memory with 100 and with 2,000 videos.

The ideal is cores / (seconds per frame of decoding with resizing + flow + quantisation + JPEG, each alone on one core).
Steps alone are measured before and after every end-to-end run, on all videos; medians of both are compared. Ray's
workers run already, and have the flow kernel loaded.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from paths import VIDEOS

from cluster.attach import attach
from pipelines.prepare import prepare
from tasks.data import PrepareSettings, layouts
from tasks.data.manifest import Row
from tasks.stickfigures import settings as figures_settings
from tasks.stickfigures import videos as figures
from tasks.video import decode, quantize, tvl1
from tasks.video.codecs import jpeg_gray, jpeg_rgb, write_mp4
from tasks.video.flow import to_gray

RUNS = 3
PAIRS = 8
"""Pairs per video that are measured alone, evenly spread, as the cost of flow depends on the content."""
ALLOWED = {"tvl1": 0.9, "none": 0.8}
WORKERS_NICE = 15
"""That of Ray's workers; the steps alone must have no advantage on a machine that does other things too."""
STEPS = ("decode + resize", "flow", "quantise", "JPEG")


def steps_alone(videos: list[Row], settings: PrepareSettings) -> dict[str, float]:
    """Return the seconds per frame of each step, in this process on one core, over all videos."""
    cv2.setNumThreads(1)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # decord reads ahead in a thread, which must not get a core of its own
    spent: dict[str, float] = defaultdict(float)
    frames: dict[str, int] = defaultdict(int)

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        spent[step] += time.perf_counter() - begin

    for video in videos:
        with timed("decode + resize"):
            images = decode(video.uri, end_s=video.end_s, short_side=settings.short_side).images
        frames["decode + resize"] += len(images)
        for first in np.linspace(0, len(images) - 2, PAIRS, dtype=int):
            pair = images[first : first + 2]
            with timed("JPEG"):
                jpeg_rgb(pair[1:], settings.rgb_quality)
            if settings.flow == "none":
                continue
            with timed("flow"):
                flow = tvl1(to_gray(pair), settings.tvl1)
            with timed("quantise"):
                quantised = quantize(flow, settings.flow_bound)
            with timed("JPEG"):
                jpeg_gray(quantised[0], settings.flow_quality)
        for step in STEPS[1:]:
            frames[step] += PAIRS
    os.sched_setaffinity(0, cores)
    return {step: spent[step] / frames[step] for step in STEPS}


def speed(name: str, source: Path, settings: PrepareSettings, root: Path, layout: str = "folder") -> None:
    """Print a row of the speed table."""
    videos = layouts.read(layout, str(source)).rows
    cores = len(os.sched_getaffinity(0))

    def rate(run: str, settings: PrepareSettings) -> float:
        result = prepare(str(source), str(root / run), layout=layout, settings=settings, progress=False)
        return result.frames / result.seconds

    rate("warm-up", replace(settings, short_side=16))
    alone, rates = [steps_alone(videos, settings)], []
    for run in range(RUNS):
        rates.append(rate(f"run{run}", settings))
        alone.append(steps_alone(videos, settings))
    step = {name: statistics.median(measured[name] for measured in alone) for name in STEPS}
    ideal, reached = cores / sum(step.values()), statistics.median(rates)
    times = " + ".join(f"{1e3 * step[name]:.2f}" for name in STEPS)
    spread = f"{min(rates):.1f} to {max(rates):.1f}"
    print(f"| {reached / ideal:.2f} | {ALLOWED[settings.flow]} | {name} | {reached:.1f} ({spread}) ", end="")
    print(f"| {ideal:.1f} | {times} | {cores} |", flush=True)


def driver_memory(count: int, root: Path) -> float:
    """Return the peak memory in MB of the process that drives the preparation of `count` tiny videos."""
    random = np.random.default_rng(0)
    originals = []
    for number in range(20):
        originals.append(root / f"{number}.mp4")
        write_mp4(originals[-1], random.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8), 25, qp=30)
    source = root / "source"
    for label in ("a", "b"):
        (source / label).mkdir(parents=True)
    for number in range(count):
        (source / "ab"[number % 2] / f"{number}.mp4").hardlink_to(originals[number % 20])
    code = f"""
import resource
from pipelines.prepare.workflow import prepare
from tasks.data import PrepareSettings
settings = PrepareSettings(short_side=16, flow="none", shard_videos=50)
result = prepare({str(source)!r}, {str(root / "out")!r}, settings=settings, progress=False, address="local")
assert result.ok == {count}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("| driver memory, 2,000 / 100 videos | MB with 100 | MB with 2,000 |\n|---|---|---|")
        peaks = []
        for count in (100, 2000):
            (root / str(count)).mkdir()
            peaks.append(driver_memory(count, root / str(count)))
        print(f"| {peaks[1] / peaks[0]:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} |\n", flush=True)

        attach("local")
        os.nice(WORKERS_NICE)
        print("| end to end / ideal | at least | videos | frames/s | ideal ", end="")
        print(f"| ms per frame: {' + '.join(STEPS)} | cores |")
        print("|---|---|---|---|---|---|---|", flush=True)
        small = figures_settings.FigureSettings(train_clips=1, val_clips=1, test_clips=1)
        for video in figures.list_videos(small):
            figures.write(video, small, root / "figures")
        (root / "prepared").mkdir()
        tiny = PrepareSettings(short_side=64)
        speed("built-in, 64 pixels", root / "figures", tiny, root / "prepared/figures")
        if VIDEOS.is_dir():
            # The start of each of the 27 videos, so that three runs take minutes and no long video at the end decides.
            table = root / "gestures.csv"
            files = sorted((VIDEOS / "arm_gestures").glob("*/*.avi"))
            table.write_text("".join(["path,label,end_s\n", *(f"{file},{file.parent.name},0.7\n" for file in files)]))
            speed("arm gestures, 256 pixels", table, PrepareSettings(), root / "prepared/gestures", layout="csv")
            thrice = root / "thrice.csv"  # whole videos, and so many that the last one on one core weighs little
            rows = [f"{file},{file.parent.name},{file.stem}-{i}\n" for i in range(3) for file in files]
            thrice.write_text("".join(["path,label,video_id\n", *rows]))
            bare = PrepareSettings(flow="none")
            speed("arm gestures, without flow", thrice, bare, root / "prepared/bare", layout="csv")


if __name__ == "__main__":
    main()
