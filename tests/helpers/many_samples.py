"""A prepared dataset of any number of samples whose shards are not there, only their sidecars: enough to open it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tasks.data.manifest import MANIFEST, SPLITS
from tasks.data.sample import FLOW, JSON, RGB
from tasks.data.settings import PrepareSettings
from tasks.data.shard import plan, settings_digest
from tasks.data.sidecar import BLOCK, FORMAT, write_sidecar
from tasks.data.tables import write_tables

CLASSES, GROUPS = 400, 1000
_RECORD = {"status": "ok", "kind": "", "message": "", "decoder": "decord", "frames": 250, "flows": 249}
_RECORD |= {"seconds": 3.123456, "width": 340, "height": 256, "fps": 25.0}
_RECORD |= {"pieces": [{"first": 0, "frames": 250, "flows": 249}]}
_SIZES = {JSON: 400, RGB["jpeg"]: 3_000_123, FLOW: 2_000_321}


def write_many(root: str, videos: int, shard_videos: int = 256) -> str:
    """Write tables and sidecars of so many videos, each in one piece; every 17th is in val, the others in train."""
    settings = PrepareSettings(shard_videos=shard_videos)
    classes = min(CLASSES, videos)
    labels = np.arange(videos) % classes
    ids = [f"class {label:03d}%2Fv_{number:08d}_g01_c01" for number, label in enumerate(labels)]
    columns = {
        "video_id": ids,
        "uri": [f"/data/videos/class {label:03d}/v_{number:08d}_g01_c01.mp4" for number, label in enumerate(labels)],
        "label": [f"class {label:03d}" for label in labels],
        "label_id": labels,
        "group": [f"group {number % GROUPS:04d}" for number in range(videos)],
        "start_s": [None] * videos,
        "end_s": [None] * videos,
    }
    parts = ["val" if number % 17 == 0 else "train" for number in range(videos)]
    manifest = pa.table(columns, schema=MANIFEST).sort_by("video_id")
    splits = pa.table({"split": ["given"] * videos, "video_id": ids, "part": parts}, schema=SPLITS).sort_by("video_id")
    write_tables(root, manifest, splits, settings)
    stored = manifest["video_id"].to_pylist()
    for shard in plan(manifest, settings):
        members, end = [], 0
        for row in shard.rows:
            for suffix, size in _SIZES.items():
                members.append((f"{stored[row]}.{suffix}", end + BLOCK, size))
                end += BLOCK + -(-size // BLOCK) * BLOCK
        sidecar = {
            "format": FORMAT,
            "shard": shard.index,
            "sha256": "0" * 64,
            "bytes": end + 2 * BLOCK,
            "settings": settings_digest(settings),
            "provisional": False,
            "records": [{**_RECORD, "video_id": stored[row], "shard": shard.index} for row in shard.rows],
            "members": members,
        }
        write_sidecar(root, sidecar)
    return root
