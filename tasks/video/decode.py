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
    from tasks.video.pyav import Probe
    from tasks.video.stack import FrameStack


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
    decoder: Decoder = "auto",
) -> Frames:
    """Decode a range of a video in this process; `DecoderProcess` does it in one that may crash.

    Args:
        uri: Path or fsspec URL, of a file or of a folder of numbered images.
        start_s: Skip frames before this time, counted from the first frame of the file.
        end_s: Skip frames from this time on. A range beyond the end of the video ends with it.
        first: Skip this many of the frames within that time.
        count: Return at most this many of the rest; there are fewer only at the end.
        short_side: Resize so that the shorter side has this many pixels (area average down, bilinear up), after the
            rotation that the container requests. Pixels are taken to be square, as other flow tools do.
        decoder: `auto` is decord, or PyAV if decord fails. PyAV decodes all frames before the range. A folder needs
            neither.

    Returns:
        Frames, at least one. Memory is bounded by the range.

    Raises:
        VideoError: missing, empty, no_video, unreadable, truncated, too_short (nothing in the range), io.
    """
    import numpy as np

    from tasks.video.fetch import LocalFile
    from tasks.video.source import opened
    from tasks.video.stack import FrameStack

    with opened(uri) as found, FrameStack(short_side) as stack:
        source = found.path if isinstance(found, LocalFile) else found
        reading, fps, used = decode_into(
            stack, source, start_s=start_s, end_s=end_s, first=first, count=count, decoder=decoder
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
    decoder: Decoder = "auto",
) -> tuple[Reading, float, str]:
    """Decode as `decode` does, into the caller's stack; return what else was found, fps and the decoder's name.

    The source is the path of a file, or the images of a folder. A path may only be opened: in a sandbox it leads to the
    input, but to nothing that has a status.
    """
    from tasks.video import image_folder

    window = Window(start_s or 0.0, math.inf if end_s is None else end_s, first, math.inf if count is None else count)
    if isinstance(source, str):
        reading, fps, used = _decode_file(stack, source, window, decoder)
    else:
        reading, fps, used = image_folder.read(source, window, stack.append), image_folder.FPS, "opencv"
    if not reading.timestamps:
        raise VideoError("too_short", f"no frame in the range: the video ends at {reading.end_s:.2f} s")
    return reading, fps, used


def _decode_file(stack: FrameStack, path: str, window: Window, decoder: Decoder) -> tuple[Reading, float, str]:
    from tasks.video import pyav

    probe = pyav.probe(path)
    stack.declare(*probe.shape, probe.frames)
    used = "decord"
    try:
        if decoder == "pyav":
            raise _Unfit
        reading = _read_decord(path, probe, window, stack.append)
        pyav.check_whole(path, probe, reading)
        if reading.timestamps:
            pyav.check_intact(path, probe, reading)
    except (_Unfit, VideoError) as error:
        if decoder == "decord":
            raise VideoError("unreadable", f"decord: {error}") if isinstance(error, _Unfit) else error from None
        used = "pyav"
        stack.clear()
        reading = pyav.read(path, probe, window, stack.append)
        pyav.check_whole(path, probe, reading)
    return reading, probe.fps or _fps(reading.timestamps), used


def _read_decord(path: str, probe: Probe, window: Window, put: Callable[[NDArray[np.uint8]], None]) -> Reading:
    try:
        import decord
    except ImportError as error:  # there is no wheel for this machine: PyAV reads everything
        raise _Unfit(str(error)) from error
    import numpy as np

    decord.logging.set_level(decord.logging.QUIET)
    try:
        # Without fault_tol decord silently replaces a broken frame by the last good one. It is a number of frames, or
        # below 1 a fraction of them, and must be above 0.
        reader = decord.VideoReader(path, num_threads=1, fault_tol=1e-9)
        times = np.asarray(reader.get_frame_timestamp(range(len(reader))), np.float64)
        starts, ends = _clean(times, probe.fps or reader.get_avg_fps())
        low, high = (int(x) for x in np.searchsorted(starts, (window.start_s, window.end_s)))
        begin, stop = min(low + window.first, high), int(min(low + window.stop, high))
        if begin < stop:
            reader.seek_accurate(begin)
        for _ in range(begin, stop):
            image = reader.next().asnumpy()
            if image.shape != (*probe.shape, 3):  # decord gives frames narrower than 32 pixels more than 3 channels
                raise _Unfit(f"decord gives {image.shape} for frames of {probe.shape}")
            put(image)
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, StopIteration) as error:
        raise _Unfit(str(error).partition("\n")[0]) from error
    return Reading(starts[begin:stop].tolist(), high - low, len(starts), float(ends[-1]))


def _clean(times: NDArray[np.float64], fps: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return start and end of each frame, from 0; frames without a time (in AVI: -1e17) follow at `fps`."""
    import numpy as np

    if (np.abs(times) > 1e9).any():
        starts = np.arange(len(times)) / fps
        return starts, starts + 1 / fps
    return times[:, 0] - times[0, 0], times[:, 1] - times[0, 0]


def _fps(timestamps: list[float]) -> float:
    span = timestamps[-1] - timestamps[0] if timestamps else 0.0
    return (len(timestamps) - 1) / span if span > 0 else 0.0
