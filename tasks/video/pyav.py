"""Decoding by PyAV: what a container promises, its frames in sequence, and whether the promise was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tasks.video.errors import VideoError
from tasks.video.reading import Reading, Window

av.logging.set_level(av.logging.PANIC)
# A playlist among the videos must not make the decoder fetch what it names.
OPEN: dict[str, Any] = {"options": {"protocol_whitelist": "file"}, "metadata_errors": "ignore"}


@dataclass(frozen=True)
class Probe:
    """What a container declares about its best video stream."""

    shape: tuple[int, int]
    """Height and width, upright."""
    rotation: int
    """Counter-clockwise rotation in degrees that turns the stored frames upright."""
    fps: float
    """0 if it is not declared."""
    frames: int
    """0 if it is not declared."""
    seconds: float
    """Duration of the video stream, or else of the file; 0 if neither is declared."""
    of_file: bool
    """Whether `seconds` is the duration of the file, with all its streams."""
    edited: bool
    """Whether the container may count frames that it does not show (edit lists of mp4 and mov)."""


def probe(path: str) -> Probe:
    """Read what the container of a local file declares.

    Raises:
        VideoError: unreadable, no_video.
    """
    try:
        with av.open(path, **OPEN) as file:
            stream = _video(file)
            rate = stream.average_rate or 0
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            seconds = seconds or _clock(stream.metadata.get("DURATION", ""))
            whole = 0.0 if seconds or not file.duration else file.duration / av.time_base
            edited = "mov" in file.format.name.split(",")
            turned = _rotation(file, stream)
            shape = (stream.height, stream.width) if turned % 180 == 0 else (stream.width, stream.height)
            return Probe(shape, turned, float(rate), stream.frames, seconds or whole, not seconds, edited)
    except (av.FFmpegError, UnicodeError) as error:
        raise VideoError("unreadable", _reason(error)) from error


def read(path: str, probe: Probe, window: Window, put: Callable[[NDArray[np.uint8]], None]) -> Reading:
    """Decode a window sequentially with one thread; frames before it are decoded but not converted.

    A frame with a time before its predecessor's is a mistake in the file, and gets its predecessor's time.

    Raises:
        VideoError: truncated (a packet cannot be decoded, or only partly), unreadable (no packet can).
    """
    kept: list[float] = []
    seen = inside = 0
    origin: float | None = None
    start = end = 0.0
    step = 1 / probe.fps if probe.fps else 0.0
    broken = unusable = ""
    try:
        with av.open(path, **OPEN) as file:
            stream = _video(file)
            for packet in _packets(file, stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError as error:
                    if seen:
                        broken = _reason(error)
                        break
                    unusable = _reason(error)  # a stream cut from a longer one begins with packets that need more
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        raise _damaged(seen, probe)
                    origin = (frame.time or 0.0) if origin is None else origin
                    start = max(start, end if frame.time is None else frame.time - origin)
                    end = start + (float(frame.duration * frame.time_base) if frame.duration else step)
                    seen += 1
                    if start < window.start_s or start >= window.end_s:
                        continue
                    inside += 1
                    if inside > window.stop:
                        return Reading(kept, None, None, end)
                    if inside > window.first:
                        put(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
                        kept.append(start)
                if start >= window.end_s:
                    return Reading(kept, inside, None, end)
    except av.FFmpegError as error:
        broken = _reason(error)
    if not seen:
        raise VideoError("unreadable", f"no frame can be decoded ({broken or unusable or 'no packets'})")
    if broken:
        raise _damaged(seen, probe, broken)
    return Reading(kept, inside, seen, end)


def check_intact(path: str, probe: Probe, reading: Reading) -> None:
    """Decode once more, without converting frames, the range that decord has read without an error.

    FFmpeg reports which frames it has patched up, decord does not; and decord may skip frames, or repeat one.

    Raises:
        VideoError: truncated (a packet cannot be decoded, or only partly, or the number of all frames differs).
    """
    whole = len(reading.timestamps) == reading.frames
    begin, end = (0.0, inf) if whole else (reading.timestamps[0], reading.timestamps[-1])
    seen = 0
    with av.open(path, **OPEN) as file:
        stream = _video(file)
        origin = float((stream.start_time or 0) * stream.time_base)
        try:
            if begin > 0:
                file.seek(int((origin + begin) / stream.time_base), stream=stream)  # to the key frame before it
            for packet in _packets(file, stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError as error:
                    if seen:
                        raise _damaged(seen, probe, _reason(error)) from error
                    continue
                for frame in frames:
                    if frame.time is not None and frame.time - origin > end:
                        return
                    if frame.is_corrupt:
                        raise _damaged(seen, probe)
                    seen += 1
        except av.FFmpegError as error:
            raise _damaged(seen, probe, _reason(error)) from error
    if whole and seen != reading.frames:
        raise VideoError("truncated", f"{reading.frames} frames, of which {seen} can be decoded")


def _damaged(seen: int, probe: Probe, why: str = "") -> VideoError:
    promise = f" of {probe.frames}" if probe.frames else ""
    text = f"cannot be decoded ({why})" if why else "is damaged"
    return VideoError("truncated", f"frame {seen + 1}{promise} {text}")


def check_whole(path: str, probe: Probe, reading: Reading) -> None:
    """Raise VideoError("truncated") if the file ends clearly before its promised end."""
    if reading.frames is None:
        return
    step = 1 / probe.fps if probe.fps else 0.0
    few = reading.frames < probe.frames - max(3, 0.02 * probe.frames)
    early = reading.end_s < probe.seconds - max(3 * step, 0.1, 0.02 * probe.seconds)
    if few and (early or not probe.edited):
        raise VideoError("truncated", f"{reading.frames} frames of {probe.frames} promised")
    if early and not probe.frames and not (probe.of_file and _lasts(path, probe.seconds - 3 * step)):
        raise VideoError("truncated", f"{reading.end_s:.2f} s of {probe.seconds:.2f} s promised")


def _lasts(path: str, seconds: float) -> bool:
    """Return whether any stream, such as sound, lasts that long."""
    with av.open(path, **OPEN) as file:
        begin = (file.start_time or 0) / av.time_base
        try:
            ends = (float((p.pts + (p.duration or 0)) * p.time_base) for p in _packets(file) if p.pts is not None)
            return any(end - begin >= 0.98 * seconds for end in ends)
        except av.FFmpegError:
            return False


def _packets(file: Any, *streams: Any) -> Iterator[Any]:
    try:
        yield from file.demux(*streams)
    except IndexError:  # PyAV raises it after the last packet if a stream began in mid-file
        return


def _video(file: Any) -> Any:
    stream = file.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = sorted({s.type for s in file.streams if s is not stream})
        raise VideoError("no_video", f"no video stream, only {', '.join(kinds)}" if kinds else "no stream at all")
    if stream.codec_context is None:
        raise VideoError("unreadable", "no decoder for its codec")
    stream.codec_context.thread_count = 1
    if stream.codec_context.name == "mjpeg":
        # By default it fills missing pixels of an image with old memory, and reports nothing.
        stream.codec_context.options = {"err_detect": "explode"}
    return stream


def _rotation(file: Any, stream: Any) -> int:
    """Return the display rotation: side data of the stream that PyAV shows only on decoded frames."""
    for packet in _packets(file, stream):
        try:
            for frame in packet.decode():
                return int(frame.rotation)
        except av.FFmpegError:
            continue
    return 0


def _clock(text: str) -> float:
    """Return the seconds of Matroska's 00:18:52.048000000; 0 if it is something else."""
    try:
        hours, minutes, seconds = (float(x) for x in text.split(":"))
    except ValueError:
        return 0.0
    return hours * 3600 + minutes * 60 + seconds


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)
