"""Decoding by PyAV: the frames of a video in sequence, and whether what its container promises was kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tasks.video.errors import VideoError
from tasks.video.packets import open_file, packets, reason, stamp_of, video_stream
from tasks.video.probe import Probe, lasts
from tasks.video.reading import Reading, Window
from tasks.video.stack import FrameStack
from tasks.words import counted

_ALIKE = 4.0
"""Mean difference of two thumbnails up to which they show one frame, converted by different versions of FFmpeg."""


class _Lost(Exception):
    """After a seek the frames are not those that were expected."""


def read(path: str, probe: Probe, window: Window, stack: FrameStack) -> Reading:
    """Decode a window with one thread.

    Decoding begins at the key frame before the window where the file has time stamps, else at the first frame.

    Raises:
        VideoError: truncated (a packet cannot be decoded, or only partly), unreadable (no packet can, or the size of
            the frames changes).
    """
    low, high = probe.timeline.span(window)
    begin, stop = min(low + window.first, high), int(min(low + window.stop, high))
    if begin < stop and probe.plain and _key_before(probe, begin) is not None:
        try:
            for frame in _exactly(path, probe, begin, stop):
                stack.append(_upright(frame))
        except (VideoError, _Lost):  # reading from the start finds what is wrong, if anything is
            stack.clear()
        else:
            line = probe.timeline
            return Reading(line.starts[begin:stop].tolist(), high - low, len(line.stamps), line.end_s)
    return _read_from_start(path, probe, window, stack)


def _read_from_start(path: str, probe: Probe, window: Window, stack: FrameStack) -> Reading:
    """Decode a window; frames before it are decoded but not converted.

    A frame with a time stamp before its predecessor's is a mistake in the file, and gets its predecessor's time.
    """
    kept: list[float] = []
    seen = inside = 0
    line = probe.timeline
    opens, closes = (line.stamps[number] if number < len(line.stamps) else inf for number in line.span(window))
    at, end = -inf, 0.0
    for frame in _frames(path, probe):
        at = max(at, _stamp(frame, seen, probe))
        if at >= closes:
            return Reading(kept, inside, None, end)
        start = float(at - line.stamps[0]) * line.tick_s
        end = start + (float(frame.duration * frame.time_base) if probe.stamped and frame.duration else line.last_s)
        seen += 1
        if at < opens:
            continue
        inside += 1
        if inside > window.stop:
            return Reading(kept, None, None, end)
        if inside > window.first:
            stack.append(_upright(frame))
            kept.append(start)
    return Reading(kept, inside, seen, end)


def check_intact(path: str, probe: Probe, begin: int, stop: int, thumbnails: Sequence[NDArray[np.uint8]] = ()) -> None:
    """Decode once more, without converting frames, those that decord has read without an error.

    FFmpeg reports which frames it has patched up, decord does not; and decord may skip frames, or repeat one.

    Args:
        path: The file.
        probe: What is known about it; `plain`.
        begin: Number of the first frame.
        stop: Number of the frame after the last one.
        thumbnails: Of each frame, if decord may have found another one.

    Raises:
        VideoError: truncated (a packet cannot be decoded, or only partly, or the number of frames differs), unreadable
            (their size changes, or a frame is another one).
    """
    try:
        for number, frame in enumerate(_exactly(path, probe, begin, stop)):
            if thumbnails:
                other = thumbnail(_upright(frame))
                if np.abs(other.astype(np.int16) - thumbnails[number]).mean() > _ALIKE:
                    raise VideoError("unreadable", f"decord does not find frame {begin + number + 1}")
    except _Lost as error:
        raise VideoError("truncated", str(error)) from error


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return every fourth pixel of an image [H,W,3] in each direction, to tell it from others."""
    return image[::4, ::4].copy()


def _exactly(path: str, probe: Probe, begin: int, stop: int) -> Iterator[Any]:
    """Yield the frames with these numbers, decoded from the last key frame before them; _Lost if others come."""
    stamps = probe.timeline.stamps
    number = begin
    for seen, frame in enumerate(_frames(path, probe, _key_before(probe, begin))):
        at = _stamp(frame, seen, probe)
        if at < stamps[begin]:
            continue
        if number == stop:
            return
        if at != stamps[number]:
            break
        number += 1
        yield frame
    if number < stop:
        raise _Lost(f"{counted(stop - begin, 'frame')}, of which {number - begin} can be decoded")


def _key_before(probe: Probe, number: int) -> int | None:
    """Return the time stamp of the last key frame up to a frame; None where decoding has to begin at the start."""
    if not probe.stamped or not probe.indexed:  # elsewhere a seek may mix up the time stamps
        return None
    keys = int(np.searchsorted(probe.keys, probe.timeline.stamps[number], "right"))
    return int(probe.keys[keys - 1]) if keys > 1 else None


def _upright(frame: Any) -> NDArray[np.uint8]:
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def check_whole(path: str, probe: Probe, reading: Reading) -> None:
    """Raise VideoError("truncated") if the file ends clearly before its promised end."""
    if reading.frames is None:
        return
    step = 1 / probe.fps if probe.fps else 0.0
    few = reading.frames < probe.frames - max(3, 0.02 * probe.frames)
    early = reading.end_s < probe.seconds - max(3 * step, 0.1, 0.02 * probe.seconds)
    if few and (early or not probe.edited):
        raise VideoError("truncated", f"{counted(reading.frames, 'frame')} of {probe.frames} promised")
    if early and not probe.frames and not (probe.of_file and lasts(path, probe.seconds - 3 * step)):
        raise VideoError("truncated", f"{reading.end_s:.2f} s of {probe.seconds:.2f} s promised")


def _frames(path: str, probe: Probe, key: int | None = None) -> Iterator[Any]:
    """Yield the decoded frames as they are shown: all, or from the key frame with a time stamp on."""
    seen = 0
    unusable = ""
    try:
        with open_file(path) as file:
            stream = video_stream(file)
            if key is not None:
                file.seek(key, stream=stream)
            for packet in packets(file, stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError as error:
                    if seen:
                        raise
                    unusable = reason(error)  # a stream cut from a longer one begins with packets that need more
                    continue
                for frame in frames:
                    # Frames stored behind the key frame and shown before it may need some from before it.
                    if frame.is_corrupt and (key is None or _stamp(frame, seen, probe) >= key):
                        raise _damaged(seen, probe)
                    _refuse_size(frame, seen, probe)
                    seen += 1
                    yield frame
    except av.FFmpegError as error:
        if seen:
            raise _damaged(seen, probe, reason(error)) from error
        unusable = unusable or reason(error)
    if not seen:
        raise VideoError("unreadable", f"no frame can be decoded ({unusable or 'no packets'})")


def _refuse_size(frame: Any, seen: int, probe: Probe) -> None:
    if (frame.height, frame.width) != probe.stored:
        height, width = probe.stored
        sizes = f"from {width} x {height} to {frame.width} x {frame.height} pixels"
        raise VideoError("unreadable", f"the picture changes its size {sizes} at frame {seen + 1}")


def _stamp(frame: Any, seen: int, probe: Probe) -> float:
    """Return the time of a frame in ticks of the timeline; `seen` frames come before it."""
    stamps = probe.timeline.stamps
    if not probe.stamped:
        return float(stamps[seen]) if seen < len(stamps) else float(stamps[-1]) + seen + 1 - len(stamps)
    stamp = stamp_of(frame, probe.by_dts)
    return -inf if stamp is None else float(stamp)  # without a time stamp it follows its predecessor


def _damaged(seen: int, probe: Probe, why: str = "") -> VideoError:
    promise = f" of {probe.frames}" if probe.frames else ""
    text = f"cannot be decoded ({why})" if why else "is damaged"
    return VideoError("truncated", f"frame {seen + 1}{promise} {text}")
