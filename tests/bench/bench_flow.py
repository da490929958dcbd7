"""TV-L1: the native kernel beside OpenCV's, one core each, on real clips and on motions with known flow.

Backends take turns on the same pairs; the ratio is of the medians over rounds, and so is each time.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from paths import VIDEOS

from tasks.video import tvl1
from tasks.video.flow import Backend, to_gray

CLIPS = {
    "UCF101 ApplyEyeMakeup": "odd_files/c3d/*ApplyEyeMakeup_g01_c01.avi",
    "ta_chi": "odd_files/st-gcn/resource_media_ta_chi.mp4",
    "arm gestures": "arm_gestures/A1/PS7A1P1T1.avi",
    "surveillance, a fight": "fight_surv/fight/fi119.mp4",
}
WIDTH, HEIGHT = 340, 256
PAIRS = 8
ROUNDS = 5
WANTED, ERROR_ALLOWED = 12, 0.02
WAVES = 200
TEXTURES = 6
MOTIONS = {
    "shift by (0.6, -0.3)": ((1, 0, 0.6), (0, 1, -0.3)),
    "shift by (5, 2)": ((1, 0, 5), (0, 1, 2)),
    "rotation by 1.5 degrees": ((0.99966, -0.02618, 0), (0.02618, 0.99966, 0)),
    "zoom by 1.03": ((1.03, 0, 0), (0, 1.03, 0)),
    "shear": ((1, 0.02, 0), (0, 1, 0)),
}
"""Motion of a point relative to the image's centre: x' = A (x, y, 1)."""


def drawn(
    name: str, height: int, width: int, part: float = 1, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw a random texture before and after a fraction of a motion, uint8 [2,H,W], and its true flow [2,H,W].

    A sum of waves, computed where each pixel comes from: resampling an image would bring errors into the truth, which
    are OpenCV's own.
    """
    random = np.random.default_rng(seed)
    period = np.exp(random.uniform(np.log(5), np.log(80), WAVES))
    angle, phase = random.uniform(0, 2 * np.pi, (2, WAVES))
    fx, fy = 2 * np.pi / period * (np.cos(angle), np.sin(angle))
    scale = 45 * np.sqrt(period / (period.sum() / 2))

    def texture(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return 128 + sum(scale[k] * np.cos(fx[k] * x + fy[k] * y + phase[k]) for k in range(WAVES))

    still = np.float64(((1, 0, 0), (0, 1, 0)))
    matrix = still + part * (np.float64(MOTIONS[name]) - still)
    y, x = np.mgrid[:height, :width] - np.float64([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    flow = np.stack([matrix[k, 0] * x + matrix[k, 1] * y + matrix[k, 2] - (x, y)[k] for k in range(2)])
    (a, b), (c, d) = np.linalg.inv(matrix[:, :2])
    back_x, back_y = x - matrix[0, 2], y - matrix[1, 2]
    pair = np.stack([texture(x, y), texture(a * back_x + b * back_y, c * back_x + d * back_y)])
    return np.clip(np.rint(pair), 0, 255).astype(np.uint8), flow.astype(np.float32)


def frames(file: Path) -> NDArray[np.uint8]:
    """Return consecutive grey frames from the middle of a video."""
    from tasks.video import decode  # imported here, as decord may be missing on a machine with a GPU

    images = decode(str(file)).images
    first = max(0, len(images) // 2 - PAIRS // 2)
    chosen = images[first : first + PAIRS + 1]
    sized = [cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for image in chosen]
    return to_gray(np.stack(sized))


def error(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the mean end-point error of [...,2,H,W] in pixels."""
    return float(np.linalg.norm(a - b, axis=-3).mean())


def compare(name: str, gray: NDArray[np.uint8]) -> None:
    """Print a row."""
    spent: dict[Backend, list[float]] = {"opencv": [], "native": []}
    flow = {}
    tvl1(gray[:2])
    for _ in range(ROUNDS):
        for backend in spent:
            begin = time.process_time()
            flow[backend] = tvl1(gray, backend=backend)
            spent[backend].append((time.process_time() - begin) / (len(gray) - 1))
    median = {backend: statistics.median(times) for backend, times in spent.items()}
    speedups = [o / n for o, n in zip(spent["opencv"], spent["native"], strict=True)]
    motion = float(np.linalg.norm(flow["opencv"], axis=-3).mean())
    print(
        f"| {median['opencv'] / median['native']:.1f} ({min(speedups):.1f} to {max(speedups):.1f}) | {WANTED} | {name} "
        f"| {1e3 * median['opencv']:.1f} | {1e3 * median['native']:.1f} "
        f"| {error(flow['native'], flow['opencv']):.4f} | {ERROR_ALLOWED} | {motion:.2f} |",
        flush=True,
    )


def on_gpu(name: str, gray: NDArray[np.uint8]) -> None:
    """Print a row: a batch on the GPU beside one core."""
    batch = np.concatenate([gray] * 4)
    rates: dict[Backend, list[float]] = {"native": [], "torch": []}
    flow = {}
    tvl1(batch, backend="torch")
    for _ in range(ROUNDS):
        for backend in rates:
            begin = time.perf_counter()
            flow[backend] = tvl1(batch, backend=backend)
            rates[backend].append((len(batch) - 1) / (time.perf_counter() - begin))
    core, gpu = (statistics.median(rates[backend]) for backend in rates)
    print(
        f"| {gpu / core:.1f} | {name} | {gpu:.1f} | {core:.1f} | {error(flow['torch'], flow['native']):.4f} |",
        flush=True,
    )


def main() -> None:
    print("| OpenCV / native (lowest to highest) | at least | clip | ms per pair OpenCV | native ", end="")
    print("| mean end-point difference | at most | mean motion |\n|---|---|---|---|---|---|---|---|")
    if VIDEOS.is_dir():
        for name, file in CLIPS.items():
            compare(name, frames(next(VIDEOS.glob(file))))
    small = [drawn("rotation by 1.5 degrees", 64, 64, part)[0][1] for part in np.linspace(0, 4, PAIRS + 1)]
    compare("synthetic, 64 x 64", np.stack(small))

    print(
        "\n| native / OpenCV | motion of six textures, 340 x 256 | end-point error native | OpenCV |\n|---|---|---|---|"
    )
    for name in MOTIONS:
        errors: dict[Backend, list[float]] = {"native": [], "opencv": []}
        for seed in range(TEXTURES):
            pair, truth = drawn(name, HEIGHT, WIDTH, seed=seed)
            for backend, found in errors.items():
                found.append(error(tvl1(pair, backend=backend)[0], truth))
        ratios = [a / b for a, b in zip(errors["native"], errors["opencv"], strict=True)]
        native, opencv = (statistics.mean(found) for found in errors.values())
        print(f"| {native / opencv:.3f} ({min(ratios):.3f} to {max(ratios):.3f}) ", end="")
        print(f"| {name} | {native:.4f} | {opencv:.4f} |", flush=True)

    if torch.cuda.is_available():
        print(f"\n{torch.cuda.get_device_name()}, {4 * (PAIRS + 1) - 1} pairs at once")
        print("\n| GPU / native on one core | motion | pairs/s GPU | native | mean difference |\n|---|---|---|---|---|")
        for name in MOTIONS:
            parts = [drawn(name, HEIGHT, WIDTH, part)[0][1] for part in np.linspace(0, 4, PAIRS + 1)]
            on_gpu(name, np.stack(parts))


if __name__ == "__main__":
    main()
