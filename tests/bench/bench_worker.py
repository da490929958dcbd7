"""Memory of a worker and its decoder while they make pieces of a long video, beside the size of a piece's frames."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from bench_models import in_a_process, peak_kb

from tasks.data import PrepareSettings
from tasks.data.process import process_piece
from tasks.video import DecoderProcess
from tasks.video.codecs import write_mp4

PIECES = 4
WIDTH, HEIGHT = 340, 256
ALLOWED_MIB = 600


def worker(video: str, flow: str) -> list[float]:
    """Return the peak MiB of the worker and of its decoder, and the MiB of a piece's frames."""
    settings = PrepareSettings(flow=flow)
    row = {"video_id": "long", "uri": video, "label": "a", "label_id": 0, "group": None, "start_s": None, "end_s": None}
    Path("/proc/self/clear_refs").write_text("5")
    with DecoderProcess() as decoder:
        for number in range(PIECES):
            process_piece(row, settings, decoder, number)
        child = peak_kb(decoder.pid)
    frames = settings.max_sample_frames * WIDTH * HEIGHT * 3
    return [peak_kb() / 1024, child / 1024, frames / 2**20]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
        still = cv2.GaussianBlur(noise, (0, 0), 1.5)
        still = np.clip(128 + 45 * still / still.std(), 0, 255).astype(np.uint8)
        write_mp4(video, np.broadcast_to(still, (PIECES * 1000, HEIGHT, WIDTH, 3)), 25, crf=30)
        print(f"A video of {PIECES * 1000:,} frames of {WIDTH} x {HEIGHT}, in pieces of 1,000.\n")
        print("| peak beyond a piece / allowed | flow | worker MiB | decoder MiB | frames of a piece MiB |")
        print("|---|---|---|---|---|", flush=True)
        for flow in ("none", "tvl1"):
            own, child, piece = in_a_process(f"bench_worker.worker({str(video)!r}, {flow!r})")
            over = (max(own, child) - piece) / ALLOWED_MIB
            print(f"| {over:.2f} | {flow} | {own:.0f} | {child:.0f} | {piece:.0f} |", flush=True)


if __name__ == "__main__":
    main()
