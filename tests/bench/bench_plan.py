"""Planning a million videos: time and memory of the driver before the first video, and its cost per video afterwards.

Listing reads a csv whose million rows name one file with a million ids; planning is all that `prepare` does before
Ray starts. The overhead is of videos of two tiny frames without flow, of which next to nothing is decoding: what 2,048
of them take longer than 512, so that it is what each of a million costs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from bench_models import in_a_process, peak_kb

from cluster.attach import attach
from pipelines.prepare import prepare
from tasks.data import PrepareSettings, layouts, manifest, shard, tables
from tasks.data.process import process_video
from tasks.video import DecoderProcess
from tasks.video.codecs import write_mp4

VIDEOS = 1_000_000
SECONDS_ALLOWED, MIB_ALLOWED = 60, 1024
FEW, MORE = 512, 2048
MS_ALLOWED = 15


def plan(folder: str) -> tuple[float, float, int]:
    """Return seconds, peak MiB and shards of planning the videos that the CSV file of a folder lists."""
    root = Path(folder)
    Path("/proc/self/clear_refs").write_text("5")
    begin = time.perf_counter()
    settings = PrepareSettings()
    videos, splits = manifest.build(layouts.read("csv", str(root / "videos.csv")), settings)
    digest = tables.write_tables(str(root / "out"), videos, splits, settings)["settings_digest"]
    plans = shard.pending(str(root / "out"), shard.plan(videos, settings), digest)
    seconds = time.perf_counter() - begin
    return seconds, peak_kb() / 1024, len(plans)


def overhead(root: Path) -> tuple[float, float, int]:
    """Return the milliseconds of a core per video in preparation, those of its work alone, and the number of cores."""
    settings = PrepareSettings(short_side=32, flow="none")
    attach("local")

    def seconds(count: int, out: str) -> float:
        source = root / out / "source/a"
        source.mkdir(parents=True)
        write_mp4(source / "0.mp4", np.zeros((2, 32, 32, 3), np.uint8), 25)
        for number in range(1, count):
            (source / f"{number}.mp4").hardlink_to(source / "0.mp4")
        begin = time.perf_counter()
        prepare(str(source.parent), str(root / out / "prepared"), settings=settings, progress=False)
        return time.perf_counter() - begin

    seconds(FEW, "warm-up")
    each = (seconds(MORE, "more") - seconds(FEW, "few")) / (MORE - FEW)
    rows = manifest.build(layouts.read("folder", str(root / "few/source")), settings)[0].to_pylist()
    with DecoderProcess() as decoder:
        process_video(rows[0], settings, decoder)
        begin = time.perf_counter()
        for row in rows:
            process_video(row, settings, decoder)
        alone = (time.perf_counter() - begin) / FEW
    import ray

    cores = int(ray.cluster_resources()["CPU"])
    return 1e3 * each * cores, 1e3 * alone, cores


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "video.mp4").touch()
        with open(root / "videos.csv", "w") as file:
            file.write("path,label,video_id,part\n")
            for number in range(VIDEOS):
                part = "val" if number % 17 == 0 else "train"
                file.write(f"video.mp4,class {number % 400:03d},video/{number:07d},{part}\n")
        seconds, peak, shards = in_a_process(f"bench_plan.plan({folder!r})")
        print("| seconds / allowed | MiB / allowed | videos | shards | seconds | MiB |\n|---|---|---|---|---|---|")
        print(f"| {seconds / SECONDS_ALLOWED:.2f} | {peak / MIB_ALLOWED:.2f} | {VIDEOS:,} | {shards:,} ", end="")
        print(f"| {seconds:.0f} | {peak:.0f} |\n", flush=True)
        each, alone, cores = overhead(root)
        print("| overhead / allowed | ms of a core per video beyond its work | ms in all | ms of its work | cores |")
        print(f"|---|---|---|---|---|\n| {(each - alone) / MS_ALLOWED:.2f} | {each - alone:.1f} ", end="")
        print(f"| {each:.1f} | {alone:.1f} | {cores} |")


if __name__ == "__main__":
    main()
