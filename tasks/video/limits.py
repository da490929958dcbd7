"""How much of a machine one video may ask for; whoever asks for more is refused before anything is decoded."""

from __future__ import annotations

from tasks.video.errors import VideoError

MOST_PIXELS = 8192 * 8192
"""Pixels of one frame, as stored and as resized: twice those of 8K video, and room for panoramas of 8192 x 4096."""
MOST_BYTES = 8_000_000_000
"""Bytes of the resized frames of one request: more than 1,000 frames of 1920 x 1080 pixels take 6.2 GB."""


def refuse_frame(height: int, width: int) -> None:
    """Raise VideoError("unreadable") if a stored frame has too many pixels, or none."""
    if not 0 < height * width <= MOST_PIXELS:
        raise VideoError("unreadable", f"frames of {width} x {height} pixels: only {MOST_PIXELS:,} can be decoded")


def refuse_request(height: int, width: int, longest_side: int | None, frames: float) -> None:
    """Raise VideoError("unreadable") if so many frames of that size, after resizing, are too large.

    Args:
        height: Pixels.
        width: Pixels.
        longest_side: Most pixels of a side; None for any number.
        frames: Most frames that are decoded at once.
    """
    size = f"{width} x {height} pixels after resizing"
    if longest_side and max(height, width) > longest_side:
        raise VideoError("unreadable", f"{size} are too many: a frame is stored with at most {longest_side:,} a side")
    if height * width > MOST_PIXELS:
        raise VideoError("unreadable", f"{size} are too many: at most {MOST_PIXELS:,} in all")
    total = 3.0 * height * width * frames
    if total > MOST_BYTES:
        raise VideoError(
            "unreadable",
            f"{frames:.0f} frames of {size} take {total / 1e9:.1f} GB at once, of at most {MOST_BYTES / 1e9:.1f}: "
            "ask for smaller ones (short_side), or fewer (max_sample_frames)",
        )
