"""Messages between a decoding process and its parent: one JSON object a packet, of bounded size, and descriptors.

What the process sends is data that somebody else may have written: it is checked here, and nothing in it is run.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from tasks.video.errors import Kind, VideoError

LONGEST = 1 << 16
"""Bytes of a message."""
LONGEST_TEXT = 2000
"""Characters of an error's text."""
MOST = (1 << 31) - 1
"""Most pixels of a side, or frames."""
NO_MEMORY = "memory"
"""What a process answers, as the kind of an error, if it needs more memory than it is given."""


class Nonsense(ValueError):
    """A message that a decoding process of ours does not send."""


@dataclass(frozen=True)
class Decoded:
    """What a process says about the frames that it has written."""

    shape: tuple[int, int, int, int]
    """[T,H,W,3]."""
    total: int | None
    fps: float
    decoder: str


def send(pipe: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message, and copies of descriptors."""
    data = json.dumps(message).encode()
    if len(data) > LONGEST:
        raise ValueError(f"a message of {len(data)} bytes")
    socket.send_fds(pipe, [data], descriptors)


def receive(pipe: socket.socket, descriptors: int = 0) -> tuple[dict[str, Any], list[int]]:
    """Wait for a message, with at most that many descriptors.

    Raises:
        EOFError: the other side has closed.
        Nonsense: it is not a JSON object, or too long.
    """
    data, received, flags, _ = socket.recv_fds(pipe, LONGEST, descriptors)
    if not data:
        raise EOFError
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Nonsense("not JSON") from error
    if not isinstance(message, dict) or flags & socket.MSG_TRUNC:
        raise Nonsense("no object")
    return message, received


def error(message: dict[str, Any]) -> VideoError:
    """Return the error that a message reports; Nonsense if it reports none."""
    kind: Any = message.get("error")
    text = message.get("text")
    if kind not in get_args(Kind) or not isinstance(text, str) or len(message) != 2:
        raise Nonsense("an error of no kind")
    printable = "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_TEXT])
    return VideoError(kind, printable)


def declared(message: dict[str, Any]) -> tuple[int, int, int]:
    """Return the height, width and number of frames (0 if unknown) that a video declares."""
    height, width, frames = _numbers(message.get("declared"), 3)
    if height == 0 or width == 0:
        raise Nonsense("frames without pixels")
    return height, width, frames


def decoded(message: dict[str, Any], short_side: int | None, count: int | None) -> Decoded:
    """Return what was decoded; Nonsense unless it answers the request."""
    shape = _numbers(message.get("shape"), 4)
    frames, height, width, channels = shape
    total, fps, decoder = message.get("total"), message.get("fps"), message.get("decoder")
    if channels != 3 or min(shape) == 0 or frames > (MOST if count is None else count):
        raise Nonsense("frames of a wrong shape")
    if short_side is not None and min(height, width) != short_side:
        raise Nonsense("frames of a wrong size")
    if total is not None and _numbers([total], 1)[0] < frames:
        raise Nonsense("more frames than there are")
    if not isinstance(fps, int | float) or isinstance(fps, bool) or not math.isfinite(fps) or fps < 0:
        raise Nonsense("no frame rate")
    if decoder not in ("decord", "pyav", "opencv") or len(message) != 4:
        raise Nonsense("no decoder")
    return Decoded((frames, height, width, channels), total, float(fps), decoder)


def images(message: dict[str, Any], count: int) -> tuple[int, int]:
    """Return which images of a folder of so many are asked for: the first, and the one after the last."""
    begin, stop = _numbers(message.get("images"), 2)
    if not begin < stop <= count:
        raise Nonsense("images that do not exist")
    return begin, stop


def _numbers(values: Any, count: int) -> list[int]:
    if not isinstance(values, list) or len(values) != count:
        raise Nonsense("a list of another length")
    if not all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST for value in values):
        raise Nonsense("a number out of bounds")
    return values
