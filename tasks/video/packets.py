"""The packets of a video file, and what they say about its frames without being decoded."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tasks.video import limits
from tasks.video.errors import VideoError
from tasks.video.timeline import Timeline

av.logging.set_level(av.logging.PANIC)

_OTHER_FILES = {"concat", "concatf", "dash", "hls", "applehttp", "image2", "imf", "vobsub", "webm_dash_manifest"}
"""Formats that name other files to read, here or elsewhere."""
_NO_FILES = {"lavfi", "rtp", "rtsp", "sap", "sdp", "tty"}
"""Formats that are not recordings: generated pictures, calls to a network, text shown as on a terminal."""
_FORMATS = {name for names in av.formats_available for name in names.split(",")} - _OTHER_FILES - _NO_FILES
_PIXELS = {"max_pixels": str(limits.MOST_PIXELS)}
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(sorted(_FORMATS)), **_PIXELS}
_CLOCK_WRAPS = 2**32
"""So many ticks, 13 hours of MPEG's clock, do not lie between two frames: the clock was reset."""


def open_file(path: str) -> Any:
    """Open a local file, and nothing that it refers to."""
    return av.open(path, options=_OPTIONS, metadata_errors="ignore")


def video_stream(file: Any) -> Any:
    """Return the best video stream of an open file, to be decoded by one thread.

    Raises:
        VideoError: no_video, unreadable (there is no decoder for it, or its frames are too large).
    """
    stream = file.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = sorted({s.type for s in file.streams if s is not stream})
        raise VideoError("no_video", f"no video stream, only {', '.join(kinds)}" if kinds else "no stream at all")
    if stream.codec_context is None:
        raise VideoError("unreadable", "no decoder for its codec")
    limits.refuse_frame(stream.height, stream.width)
    stream.codec_context.thread_count = 1
    # By default MJPEG fills missing pixels of an image with old memory, and reports nothing.
    strict = {"err_detect": "explode"} if stream.codec_context.name == "mjpeg" else {}
    stream.codec_context.options = _PIXELS | strict
    return stream


def packets(file: Any, *streams: Any) -> Iterator[Any]:
    """Yield the packets of an open file, and at the end a request per stream to decode what is left.

    Packets without data are left out: each stands for a frame that the recorder dropped, and would end the decoding.
    """
    return (packet for packet in _all_packets(file, *streams) if packet.size or _is_end(packet))


def reason(error: BaseException) -> str:
    """Return what FFmpeg says about an error."""
    return str(getattr(error, "strerror", None) or error)


def stamp_of(frame: Any, by_dts: bool) -> int | None:
    """Return the time stamp of a packet or frame, in ticks."""
    stamp: int | None = frame.dts if by_dts else frame.pts
    return stamp


class Scan:
    """The packets of a stream that are shown, in the order of the file, and the first frame that can be decoded."""

    def __init__(self, file: Any, stream: Any) -> None:
        self.size: tuple[int, int] | None = None
        """Height and width of the first frame; None if no frame can be decoded."""
        self.rotation = 0
        """Counter-clockwise rotation in degrees that turns it upright."""
        self.first = 0
        """Its time stamp."""
        self.dropped = 0
        """Number of packets without data, for frames that the recorder dropped."""
        self.hidden = 0
        """Number of packets that an edit list does not show."""
        self.steady = True
        """Whether the clock never jumps, as it does where recordings were joined."""
        self.stamped = True
        """Whether time stamps say when each frame is shown."""
        self.by_dts = file.format.name == "avi"
        """Whether time stamps are those of decoding: AVI has no others, and what FFmpeg makes up may be wrong."""
        self._tick_s = float(stream.time_base or 0)
        self._fps = float(stream.average_rate or 0)
        self._last = 0  # duration in ticks of the packet with the last time stamp
        self._stamps, self._orders, self._keys = array("q"), array("q"), array("q")
        with suppress(av.FFmpegError):  # the decoder meets it again, and says in which frame
            self._read(file, stream)
        later = np.diff(np.array(self._stamps, np.int64)) > 0
        self.reordered = bool(stream.codec_context.has_b_frames) if self.by_dts else not later.all()
        """Whether frames may be stored in another order than they are shown."""
        self.stamped &= self.steady and not (self.by_dts and self.reordered)
        if self.by_dts and self._orders:  # FFmpeg leaves out packets without data, but counts them
            self.dropped = self._orders[-1] - self._orders[0] + 1 - len(self._orders)

    def timeline(self) -> Timeline:
        """Return when the packets are shown; one after the other if their time stamps cannot be trusted."""
        rate = 1 / self._fps if self._fps else 0.0
        if not self.stamped:
            step = rate or self._last * self._tick_s
            if self.steady and len(self._orders) == len(self._stamps):
                return Timeline(np.array(self._orders, np.int64), self._tick_s, step)
            return Timeline(np.arange(len(self._stamps)), step, step)
        stamps = np.sort(np.array(self._stamps, np.int64))
        shown = stamps[np.searchsorted(stamps, self.first) :]
        mean = float(shown[-1] - shown[0]) * self._tick_s / (len(shown) - 1) if len(shown) > 1 else 0.0
        return Timeline(shown, self._tick_s, self._last * self._tick_s or rate or mean)

    def keys(self) -> NDArray[np.int64]:
        """Return the time stamps of the key frames, ascending."""
        stamps = np.array(self._stamps, np.int64)
        return np.sort(stamps[np.array(self._keys, np.int64)])

    def is_plain(self, timeline: Timeline) -> bool:
        """Return whether each packet is a frame that is shown, at a time of its own."""
        apart = not self.stamped or bool((np.diff(timeline.stamps) > 0).all())
        complete = len(timeline.stamps) == len(self._stamps)
        return bool(self.size) and self.steady and complete and apart and not self.dropped and not self.hidden

    def _read(self, file: Any, stream: Any) -> None:
        frame: Any = None
        before: int | None = None
        highest = -(2**63)
        for packet in _all_packets(file, stream):
            if frame is None:
                frame = self._decode(packet)
            if not packet.size:
                self.dropped += not _is_end(packet)
                continue
            if packet.is_discard:
                self.hidden += 1
                continue
            order = packet.dts
            stamp = order if self.by_dts else packet.pts
            if order is not None:
                self.steady &= before is None or before <= order < before + _CLOCK_WRAPS
                before = order
                self._orders.append(order)
            if stamp is None:
                self.stamped, stamp = False, 0
            elif stamp > highest:
                highest, self._last = stamp, packet.duration or 0
            if packet.is_keyframe:
                self._keys.append(len(self._stamps))
            self._stamps.append(stamp)

    def _decode(self, packet: Any) -> Any:
        """Return the first frame that comes out of a packet, and keep what is known about it."""
        if not packet.size and not _is_end(packet):
            return None
        try:
            frame = next(iter(packet.decode()), None)
        except av.FFmpegError:
            return None
        if frame is not None:
            self.size = frame.height, frame.width
            self.rotation = int(frame.rotation)
            stamp = stamp_of(frame, self.by_dts)
            self.stamped &= stamp is not None
            self.first = stamp or 0
        return frame


def _all_packets(file: Any, *streams: Any) -> Iterator[Any]:
    try:
        yield from file.demux(*streams)
    except IndexError:  # PyAV raises it after the last packet if a stream began in mid-file
        return


def _is_end(packet: Any) -> bool:
    """Return whether a packet is the request to decode what is left."""
    return not packet.size and packet.pts is None and packet.dts is None
