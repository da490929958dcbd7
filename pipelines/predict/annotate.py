"""`marey predict --annotate`: a copy of the video with its prediction drawn into a corner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    from matplotlib.font_manager import findfont
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(findfont("DejaVu Sans"), max(9, height // LETTERS))
    lines = [f"{label}  {percent:.0f} %" for label, percent in top]
    line = int(1.4 * font.size)
    wide = int(max(font.getlength(text) for text in lines)) + line
    ground = Image.new("RGBA", (min(wide, width), min(line * len(lines) + line // 2, height)), (0, 0, 0, 160))
    pen = ImageDraw.Draw(ground)
    for number, text in enumerate(lines):
        colour = (255, 255, 255, 255) if number == 0 else (190, 190, 190, 255)
        pen.text((line // 2, line // 4 + number * line), text, font=font, fill=colour)
    return np.asarray(ground)
