"""A source as found in the wild: videos among files that are not, with names that break pages and shells."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.data.settings import PrepareSettings
from tasks.video import TVL1
from tasks.video.codecs import write_mp4

SETTINGS = PrepareSettings(
    short_side=34, max_sample_frames=10, tvl1=TVL1(scales=2, warps=1, outer_iterations=2), shard_videos=64
)
MARKUP, UNICODE, HOPELESS = "<img src=x onerror=alert(1)>", '走る & "run"', "hopeless"
"""Classes, of which the last has no readable video."""
LONG = "long"
"""A video of the second class, in two samples."""
NO_VIDEOS = {
    f"{MARKUP}/<script>alert(2)<script>.mp4": b"no video",
    f"{MARKUP}/'quoted\"&amp;.mp4": b"",
    f"{UNICODE}/név 行動 🎬.mp4": b"",
    f"{UNICODE}/\u202ertl \x1b[31mred.mp4": b"\x00" * 64,
    f"{HOPELESS}/1.mp4": b"",
    f"{HOPELESS}/2.avi": b"no video",
    f"{HOPELESS}/3.mkv": b"",
}
OK = 7


def write_awkward(root: Path, more: int = 0) -> Path:
    """Write the source: OK videos, NO_VIDEOS, and `more` empty files."""
    for label in (MARKUP, UNICODE):
        (root / label).mkdir(parents=True)
        for number in range(3):
            write_mp4(root / label / f"{number}.mp4", _square(12, number), 8)
    write_mp4(root / UNICODE / f"{LONG}.mp4", _square(16, 3), 8)
    (root / HOPELESS).mkdir()
    for name, content in NO_VIDEOS.items():
        (root / name).write_bytes(content)
    for number in range(more):
        (root / HOPELESS / f"empty-{number:03d}.mp4").touch()
    return root


def _square(frames: int, seed: int) -> np.ndarray:
    """Draw a bright square that moves right by two pixels per frame: uint8 [frames, 34, 60, 3]."""
    background = np.random.default_rng(seed).integers(0, 90, (34, 60, 3), dtype=np.uint8)
    video = np.repeat(background[None], frames, 0)
    texture = np.random.default_rng(seed + 1).integers(120, 255, (16, 16, 3), dtype=np.uint8)
    for index, frame in enumerate(video):
        frame[9:25, 4 + 2 * index : 20 + 2 * index] = texture
    return video
