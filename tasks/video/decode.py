"""Decoding of videos: by decord, or by PyAV if decord fails. Nothing outside this file knows decord.

A folder of numbered images is a video too: `image_folder.py`.

What "whole" means
    A container promises a number of frames (mp4, avi) or a duration (webm, mkv), and either may be wrong. A video is
    `truncated` if a packet after the first good frame cannot be decoded, if FFmpeg had to patch up a frame, or if the
    decoded video ends clearly before its promised end: more than 3 frames (0.1 s) and more than 2 % short. In mp4 and
    mov both count and duration must be short, as edit lists leave counted frames out of a complete video. A duration
    of the whole file, which a longer sound track extends, counts only if every stream ends before it. More frames than
    promised are fine. Containers that promise nothing (a webm made for streaming, gif) are whole wherever they end, and
    a gap that a container skips without an error goes unnoticed if it has no count (mkv, webm). So do wrong bits that
    are valid code: VP8, VP9 and GIF have no means to detect them.

    decord does not report that a frame was patched up, so what it has read is decoded a second time by PyAV, without
    converting the frames; that takes 7 to 18 % of the reading time.

Which frames
    `timeline.py` decides which frames a range of time holds, from the time stamps of the packets, and PyAV finds them
    by these. decord finds a frame by its number, and after a seek in a file with B-frames, or without an index, may
    silently give another one: `auto` leaves such ranges to PyAV, and `decord` compares every frame with PyAV's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.video.errors import VideoError
from tasks.video.reading import Decoder, Frames, Reading, Window

if TYPE_CHECKING:  # the package exports from here, and its settings must not cost an import of numpy
    import numpy as np
    from numpy.typing import NDArray

    from tasks.video.image_folder import Images
    from tasks.video.probe import Probe
    from tasks.video.stack import FrameStack

    _Put = Callable[[NDArray[np.uint8]], None]


class _Unfit(Exception):
    """decord cannot read this file, but PyAV may."""


def decode(
    uri: str,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    first: int = 0,
    count: int | None = None,
    short_side: int | None = None,
    longest_side: int | None = None,
    decoder: Decoder = "auto",
) -> Frames:
    """Decode a range of a video in this process; `DecoderProcess` does it in one that may crash.

    Args:
        uri: Path or fsspec URL, of a file or of a folder of numbered images.
        start_s: Skip frames before this time, counted from the first frame of the file. A frame at this time is kept;
            at a constant rate the time is rounded to the nearest frame.
        end_s: Skip frames from this time on, by the same rule. A range beyond the end of the video ends with it.
        first: Skip this many of the frames within that time.
        count: Return at most this many of the rest; there are fewer only at the end.
        short_side: Resize so that the shorter side has this many pixels (area average down, bilinear up), after the
            rotation that the container requests. Pixels are taken to be square, as other flow tools do.
        longest_side: Refuse frames with a longer side, after resizing.
        decoder: `auto` is decord, or PyAV if decord fails or may give other frames. PyAV decodes from the key frame
            before the range, or in formats without an index from the start. A folder needs neither.

    Returns:
        Frames, at least one. Memory is bounded by the range, and by the limits of `tasks.video.limits`.

    Raises:
        VideoError: missing, empty, no_video, unreadable (also: too large, the size changes), truncated, too_short
            (nothing in the range), io.
    """
    import numpy as np

    from tasks.video.fetch import LocalFile
    from tasks.video.source import opened
    from tasks.video.stack import FrameStack

    with opened(uri) as found, FrameStack(short_side) as stack:
        source = found.path if isinstance(found, LocalFile) else found
        reading, fps, used = decode_into(
            stack,
            source,
            start_s=start_s,
            end_s=end_s,
            first=first,
            count=count,
            longest_side=longest_side,
            decoder=decoder,
        )
        return Frames(stack.images(), np.asarray(reading.timestamps, np.float64), fps, used, reading.total)


def decode_into(
    stack: FrameStack,
    source: str | Images,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    first: int = 0,
    count: int | None = None,
    longest_side: int | None = None,
    decoder: Decoder = "auto",
) -> tuple[Reading, float, str]:
    """Decode as `decode` does, into the caller's stack; return what else was found, fps and the decoder's name.

    The source is the path of a file, or the images of a folder. A path may only be opened: in a sandbox it leads to the
    input, but to nothing that has a status.
    """
    from tasks.video import image_folder

    window = Window(start_s or 0.0, math.inf if end_s is None else end_s, first, math.inf if count is None else count)
    if isinstance(source, str):
        reading, fps, used = _decode_file(stack, source, window, longest_side, decoder)
    else:
        reading, fps, used = image_folder.read(source, window, stack, longest_side), image_folder.FPS, "opencv"
    if not reading.timestamps:
        raise VideoError("too_short", f"no frame in the range: the video ends at {reading.end_s:.2f} s")
    return reading, fps, used


def _decode_file(
    stack: FrameStack, path: str, window: Window, longest_side: int | None, decoder: Decoder
) -> tuple[Reading, float, str]:
    from tasks.video import limits, pyav
    from tasks.video.probe import probe
    from tasks.video.stack import resized_shape

    found = probe(path)
    low, high = found.timeline.span(window)
    frames = min(window.count, max(0, high - low - window.first))
    limits.refuse_request(*resized_shape(*found.shape, stack.short_side), longest_side, frames)
    stack.declare(*found.shape, len(found.timeline.stamps))
    used = "decord"
    try:
        if decoder == "pyav":
            raise _Unfit
        reading = _read_decord(path, found, window, stack.append, decoder == "decord")
    except (_Unfit, VideoError) as error:
        if decoder == "decord":
            raise VideoError("unreadable", f"decord: {error}") if isinstance(error, _Unfit) else error from None
        used = "pyav"
        stack.clear()
        reading = pyav.read(path, found, window, stack)
        pyav.check_whole(path, found, reading)
    return reading, found.fps or _fps(reading.timestamps), used


def _read_decord(path: str, probe: Probe, window: Window, put: _Put, compare: bool) -> Reading:
    """Read a window by decord; with `compare` also where it may give other frames, if it does not."""
    from tasks.video import pyav

    line = probe.timeline
    low, high = line.span(window)
    begin, stop = min(low + window.first, high), int(min(low + window.stop, high))
    part = begin > 0 or stop < len(line.stamps)
    doubtful = not probe.indexed or (part and probe.reordered)
    if not probe.plain or (doubtful and not compare):
        raise _Unfit("the packets of the file are not its frames in their order, or it has no index of them")
    thumbnails: list[NDArray[np.uint8]] = []

    def take(image: NDArray[np.uint8]) -> None:
        put(image)
        if doubtful:
            thumbnails.append(pyav.thumbnail(image))

    reading = Reading(line.starts[begin:stop].tolist(), high - low, len(line.stamps), line.end_s)
    if begin < stop:
        _read_frames(path, probe, begin, stop, take)
    pyav.check_whole(path, probe, reading)
    if begin < stop:
        pyav.check_intact(path, probe, begin, stop, thumbnails)
    return reading


def _read_frames(path: str, probe: Probe, begin: int, stop: int, put: _Put) -> None:
    """Read frames by decord."""
    try:
        import decord
    except (ImportError, OSError) as error:  # it is not installed, or not for this machine: PyAV reads everything
        raise _Unfit(str(error)) from error
    decord.logging.set_level(decord.logging.QUIET)
    try:
        # Without fault_tol decord silently replaces a broken frame by the last good one. It is a number of frames, or
        # below 1 a fraction of them, and must be above 0.
        reader = decord.VideoReader(path, num_threads=1, fault_tol=1e-9)
        if len(reader) != len(probe.timeline.stamps):
            raise _Unfit(f"decord counts {len(reader)} frames of {len(probe.timeline.stamps)}")
        reader.seek_accurate(begin)
        for _ in range(begin, stop):
            image = reader.next().asnumpy()
            if image.shape != (*probe.shape, 3):  # decord gives frames narrower than 32 pixels more than 3 channels
                raise _Unfit(f"decord gives {image.shape} for frames of {probe.shape}")
            put(image)
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, StopIteration) as error:
        raise _Unfit(str(error).partition("\n")[0]) from error


def _fps(timestamps: list[float]) -> float:
    span = timestamps[-1] - timestamps[0] if timestamps else 0.0
    return (len(timestamps) - 1) / span if span > 0 else 0.0
