"""Frames as JPEG or H.264: bytes, error, and CPU time to write and to read, on real clips where they are present."""

from __future__ import annotations

import statistics

import cv2
import numpy as np
from bench_models import seconds
from paths import VIDEOS

from tasks.data.sample import read_rgb, write_rgb, write_rgb_h264
from tasks.stickfigures import settings as figures_settings
from tasks.stickfigures import videos as figures
from tasks.video import decode
from tasks.video.codecs import jpeg_rgb

CLIP = 8
"""Number of frames of a clip, evenly spread."""
RUNS = 3


def sources() -> list[tuple[str, list[np.ndarray]]]:
    """Return the name of each set and the frames of its videos, uint8 [T,H,W,3]."""
    small = figures_settings.FigureSettings()
    found = [("built-in, 64 pixels", [figures.render(video, small) for video in figures.list_videos(small)[::60]])]
    if VIDEOS.is_dir():
        for name, pattern in (("ud810 PS7 gestures", "arm_gestures/*/*.avi"), ("surveillance", "fight_surv/*/*.mp4")):
            files = sorted(VIDEOS.glob(pattern))[::15]
            found.append((f"{name}, 256 pixels", [decode(str(file), short_side=256).images for file in files]))
    return found


def measure(videos: list[np.ndarray], rgb: str, quality: int) -> tuple[float, float, float, float]:
    """Return KB per frame, PSNR in dB, ms to write a frame, and ms to read a clip."""

    def write(images: np.ndarray) -> bytes:
        height, width = images.shape[1:3]
        if rgb == "h264":
            return write_rgb_h264(images, fps=25, crf=quality)
        return write_rgb(jpeg_rgb(images, quality), height=height, width=width, quality=quality)

    def wanted(images: np.ndarray) -> list[int]:
        return np.linspace(0, len(images) - 1, CLIP, dtype=int).tolist()

    def read(data: bytes, images: np.ndarray) -> np.ndarray:
        return read_rgb(data, wanted(images), rgb, height=images.shape[1], width=images.shape[2])

    files = [write(images) for images in videos]
    frames = sum(map(len, videos))
    pairs = list(zip(files, videos, strict=True))
    errors = [read(data, images).astype(float) - images[wanted(images)] for data, images in pairs]
    squared = statistics.mean(float(np.mean(error**2)) for error in errors)
    every_write, every_read = seconds(
        [lambda: [write(images) for images in videos], lambda: [read(data, images) for data, images in pairs]], RUNS
    )
    writing, reading = every_write / frames, every_read / len(videos)
    return sum(map(len, files)) / frames / 1e3, 10 * np.log10(255**2 / squared), 1e3 * writing, 1e3 * reading


def main() -> None:
    cv2.setNumThreads(1)
    print(f"| bytes | videos | frames as | KB per frame | PSNR dB | ms to write one | ms to read {CLIP} of a video |")
    print("|---|---|---|---|---|---|---|")
    for name, videos in sources():
        base = 0.0
        for rgb, quality in (("jpeg", 95), ("h264", 18), ("h264", 23)):
            size, psnr, writing, reading = measure(videos, rgb, quality)
            base = base or size
            kind = f"JPEG {quality}" if rgb == "jpeg" else f"H.264 crf {quality}"
            print(
                f"| {size / base:.2f} | {name} | {kind} | {size:.1f} | {psnr:.1f} | {writing:.2f} | {reading:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
