"""A prepared dataset without videos: frame i is grey i + 1, and flow pair i is x = i + 1, y = 101 + i."""

import numpy as np

from tasks.data.manifest import Listing, Row, build
from tasks.data.process import Processed
from tasks.data.sample import FLOW, JSON, RGB, sample_key, write_facts, write_flow, write_rgb, write_rgb_h264
from tasks.data.settings import PrepareSettings
from tasks.data.shard import plan, settings_digest, write_shard
from tasks.data.tables import write_tables
from tasks.video.codecs import jpeg_gray, jpeg_rgb

SIZE = (48, 64)
FRAMES = 12
FAILED, LONG = "jump%2F1", "run%2F1"
"""A video that failed, and one in two pieces of 7 and 5 frames."""


def write_dataset(
    root,
    *,
    videos=6,
    flow=True,
    shard_videos=4,
    size=SIZE,
    frames=FRAMES,
    texture=False,
    rgb="jpeg",
    classes=("jump", "run"),
):
    """Write `videos` of each class by three people; the splits are `first` and `second`."""
    settings = PrepareSettings(
        short_side=min(size),
        flow="tvl1" if flow else "none",
        shard_videos=shard_videos,
        max_sample_frames=7,
        rgb=rgb,
    )
    rows = [
        Row(
            video_id=f"{label}%2F{i}",
            uri=f"/videos/{label}/{i}.mp4",
            label=label,
            group=f"P{i % 3}",
            parts={"first": ["train", "train", "val", "test"][i % 4], "second": "test" if i == 2 else "train"},
        )
        for label in classes
        for i in range(videos)
    ]
    manifest, splits = build(Listing(rows), settings)
    write_tables(str(root), manifest, splits, settings)
    for shard in plan(manifest, settings):
        processed = [_process(row, settings, size, frames, texture) for row in shard.take(manifest)]
        write_shard(str(root), shard, processed, settings_digest(settings))
    return str(root)


def _process(row, settings, size, frames, texture):
    flow = settings.flow != "none"
    record = {"video_id": row["video_id"], "status": "ok", "kind": "", "message": "", "decoder": "decord"}
    record |= {"height": size[0], "width": size[1], "fps": 24.0, "seconds": 0.1}
    if row["video_id"] == FAILED:
        return Processed(record | {"status": "failed", "kind": "unreadable", "frames": 0, "flows": 0, "pieces": []})
    cuts = [7, frames - 7] if row["video_id"] == LONG else [frames]
    record["pieces"] = [
        {"first": sum(cuts[:i]), "frames": n, "flows": flow * (n - (i == len(cuts) - 1))} for i, n in enumerate(cuts)
    ]
    members = []
    for i, piece in enumerate(record["pieces"]):
        key = sample_key(row["video_id"], i + 1, len(cuts))
        members.append((f"{key}.{JSON}", write_facts({**row, **record, **piece})))
        members.append(
            (f"{key}.{RGB[settings.rgb]}", _rgb(piece["first"], piece["frames"], size, texture, settings.rgb))
        )
        if flow:
            members.append((f"{key}.{FLOW}", _flow(piece["first"], piece["flows"], size)))
    totals = {name: sum(piece[name] for piece in record["pieces"]) for name in ("frames", "flows")}
    return Processed(record | totals, members)


def _rgb(first, count, size, texture, rgb):
    images = np.empty((count, *size, 3), np.uint8)
    images[:] = np.arange(first + 1, first + count + 1, dtype=np.uint8)[:, None, None, None]
    if texture:  # as costly to decode as a JPEG of a real frame
        y, x = np.mgrid[: size[0], : size[1]]
        noise = np.random.default_rng(0).normal(0, 6, (*size, 3))
        images = np.clip(128 + 60 * np.sin(x / 9 + y / 17)[..., None] + noise + images, 0, 255).astype(np.uint8)
    if rgb == "h264":
        return write_rgb_h264(images, fps=25, crf=18)
    return write_rgb(jpeg_rgb(images, 95), height=size[0], width=size[1], quality=95)


def _flow(first, count, size):
    x, y = np.empty((2, count, *size), np.uint8)
    x[:] = np.arange(first + 1, first + count + 1, dtype=np.uint8)[:, None, None]
    y[:] = x + 100
    return write_flow(jpeg_gray(x, 95), jpeg_gray(y, 95), height=size[0], width=size[1], quality=95, bound=20.0)
