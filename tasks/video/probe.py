"""What a video file is, found without decoding it: what its container promises, and when its frames are shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tasks.video import limits
from tasks.video.avi import dropped_frames
from tasks.video.errors import VideoError
from tasks.video.mov import promised_frames
from tasks.video.packets import Scan, open_file, packets, reason, video_stream
from tasks.video.timeline import Timeline

_INDEXED = {"mov", "matroska", "avi"}


@dataclass(frozen=True)
class Probe:
    """What a container declares about its best video stream, and what its packets say."""

    stored: tuple[int, int]
    """Height and width of the frames as they are stored."""
    rotation: int
    """Counter-clockwise rotation in degrees that turns the stored frames upright."""
    fps: float
    """0 if it is not declared."""
    frames: int
    """Number of frames; 0 if it is not declared."""
    seconds: float
    """Duration of the video stream, or else of the file; 0 if neither is declared."""
    of_file: bool
    """Whether `seconds` is the duration of the file, with all its streams."""
    edited: bool
    """Whether the container may count frames that it does not show (edit lists of mp4 and mov)."""
    timeline: Timeline
    """When the frames are shown; a few formats have packets without a frame."""
    stamped: bool
    """Whether a frame is found by its time stamp; else by its number, at a constant rate."""
    plain: bool
    """Whether each packet is a frame that is shown, at a time of its own."""
    by_dts: bool
    """Whether that is the time stamp of decoding."""
    reordered: bool
    """Whether frames may be stored in another order than they are shown."""
    indexed: bool
    """Whether the format has an index of its packets, by which any of them is found."""
    keys: NDArray[np.int64]
    """Time stamps of the key frames, ascending, if `stamped`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frames, upright."""
        height, width = self.stored
        return (height, width) if self.rotation % 180 == 0 else (width, height)


def probe(path: str) -> Probe:
    """Read what the container of a local file promises, and when its frames are shown.

    The last answer is kept, as the pieces of a long video are requested one after another.

    Raises:
        VideoError: unreadable, no_video.
    """
    with open(path, "rb") as file:  # in a sandbox it may be opened, but its path has no status
        status = os.fstat(file.fileno())
    return _probe(path, status.st_size, (status.st_dev, status.st_ino, status.st_mtime_ns))


@lru_cache(maxsize=1)
def _probe(path: str, size: int, _identity: tuple[int, ...]) -> Probe:
    frames = promised_frames(path)
    if frames > size:
        raise VideoError("unreadable", f"{frames:,} frames are promised in {size:,} bytes")
    try:
        with open_file(path) as file:
            stream = video_stream(file)
            seconds, of_file = _promised(file, stream)
            scan = Scan(file, stream)
            stored = scan.size or (stream.height, stream.width)
            limits.refuse_frame(*stored)
            timeline = scan.timeline()
            dropped = max(scan.dropped, dropped_frames(path, stream.index) if scan.by_dts else 0)
            if scan.stamped:  # without the frames at the beginning that need others to be decoded
                seconds -= max(0.0, (scan.first - (stream.start_time or 0)) * float(stream.time_base))
            return Probe(
                stored=stored,
                rotation=scan.rotation,
                fps=float(stream.average_rate or 0),
                frames=max(0, stream.frames - dropped),
                seconds=max(0.0, seconds) if scan.steady else 0.0,
                of_file=of_file,
                edited="mov" in file.format.name.split(","),
                timeline=timeline,
                stamped=scan.stamped,
                plain=scan.is_plain(timeline),
                by_dts=scan.by_dts,
                reordered=scan.reordered,
                indexed=not _INDEXED.isdisjoint(file.format.name.split(",")),
                keys=scan.keys(),
            )
    except (av.FFmpegError, UnicodeError) as error:
        raise VideoError("unreadable", reason(error)) from error


def lasts(path: str, seconds: float) -> bool:
    """Return whether any stream of a file, such as sound, lasts that long."""
    with open_file(path) as file:
        begin = (file.start_time or 0) / av.time_base
        try:
            ends = (float((p.pts + (p.duration or 0)) * p.time_base) for p in packets(file) if p.pts is not None)
            return any(end - begin >= 0.98 * seconds for end in ends)
        except av.FFmpegError:
            return False


def _promised(file: Any, stream: Any) -> tuple[float, bool]:
    """Return the duration that the container declares, 0 if none, and whether it is that of the whole file."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base), False
    # In Matroska FFmpeg writes when the stream ends, and mkvmerge, which adds statistics, how long it is.
    ends = "matroska" in file.format.name.split(",") and "_STATISTICS_WRITING_APP" not in stream.metadata
    seconds = _clock(stream.metadata.get("DURATION", ""))
    if seconds:
        return seconds - (float((stream.start_time or 0) * stream.time_base) if ends else 0.0), False
    return ((file.duration or 0) - ((file.start_time or 0) if ends else 0)) / av.time_base, True


def _clock(text: str) -> float:
    """Return the seconds of Matroska's 00:18:52.048000000; 0 if it is something else."""
    try:
        hours, minutes, seconds = (float(x) for x in text.split(":"))
    except ValueError:
        return 0.0
    return hours * 3600 + minutes * 60 + seconds
