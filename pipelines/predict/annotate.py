"""`marey predict --annotate`: a copy of the video with its prediction drawn into a corner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.predict.workflow import Prediction, check_place, videos_at
from tasks.video import DecoderProcess
from tasks.video.codecs import write_mp4

FRAMES = 128
"""Frames in memory at a time."""
SHOWN = 3
"""Number of classes drawn."""
LARGEST = 1080
"""Short side, in pixels, above which a video is scaled down."""
LETTERS = 22
"""Height of a video in lines of text."""
GROUND = 160
"""Opacity of the ground, of 255."""
DPI = 100
"""Pixels per inch, in which matplotlib counts."""


def check(videos: tuple[str, ...], out: Path) -> None:
    """Raise UserError unless one video is to be drawn on, to an mp4 that can be written."""
    files = [file for video in videos for file in videos_at(video)[0]]
    if len(files) != 1:
        raise UserError("--annotate draws on one video: give a single file")
    if out.suffix != ".mp4":
        raise UserError(f"--annotate {out}: the video is written as .mp4, so name a file with that ending")
    check_place("--annotate", out)
    if out.exists() and "://" not in files[0] and out.samefile(files[0]):
        raise UserError(f"--annotate {out}: this is the video itself; choose another place")


def annotate(prediction: Prediction, out: Path) -> None:
    """Write a video with its most probable classes on every frame, H.264 in mp4, without sound.

    Args:
        prediction: of a video that could be read.
        out: where to write.
    """
    with DecoderProcess() as decoder:
        first = decoder.decode(prediction.video, count=1)
        short = min(first.images.shape[1:3])
        short_side = LARGEST if short > LARGEST else None

        def frames() -> Iterator[np.ndarray]:
            label = None
            for part in decoder.pieces(prediction.video, FRAMES, short_side=short_side):
                height, width = part.images.shape[1] // 2 * 2, part.images.shape[2] // 2 * 2  # 4:2:0 wants even sides
                if label is None:
                    label = _label(prediction.top[:SHOWN], height, width)
                yield from (_draw(image[:height, :width], label) for image in part.images)

        write_mp4(out, frames(), first.fps or 25)


def _draw(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    drawn = image.copy()
    height, width = label.shape[:2]
    corner = drawn[:height, :width]
    opacity = label[..., 3:] / 255
    corner[:] = np.rint(label[..., :3] * opacity + corner * (1 - opacity)).astype(np.uint8)
    return drawn


def _label(top: list[tuple[str, float]], height: int, width: int) -> np.ndarray:
    """Return the classes drawn on a dark ground, uint8 RGBA [h, w, 4], no larger than the frame."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from pipelines.fonts import drawable

    names = drawable([label for label, _ in top])
    letters = max(9, height // LETTERS)
    line = int(1.4 * letters)
    high = min(line * len(top) + line // 2, height)
    canvas: Any = FigureCanvasAgg(Figure(figsize=(width / DPI, high / DPI), dpi=DPI, facecolor="black"))
    wide = 0.0
    for number, (name, (_, percent)) in enumerate(zip(names.texts, top, strict=True)):
        text = canvas.figure.text(
            line / 2 / width,
            1 - (line / 4 + (number + 0.5) * line) / high,
            f"{percent:.0f} %  {name}",
            size=72 * letters / DPI,
            color="white" if number == 0 else "0.75",
            va="center_baseline",
            family=names.families,
            parse_math=False,
        )
        wide = max(wide, text.get_window_extent(canvas.get_renderer()).x1)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[:, : int(wide) + line // 2]
    cover = drawn[..., :3].max(-1, keepdims=True)  # of the letters over the black ground
    return np.concatenate([drawn[..., :3], np.maximum(cover, GROUND)], -1)
