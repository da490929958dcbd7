"""Videos whose frames show their number, in any container, with any time stamps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def numbered(frames: int = 60, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Frames uint8 [T,H,W,3], of which frame t shows t as 8 bits in a row of squares."""
    bits = np.arange(frames)[:, None] >> np.arange(8) & 1
    images = np.repeat(np.uint8(20 + 210 * bits), size[1] // 8, 1)[:, None, :, None]
    return np.broadcast_to(images, (frames, *size, 3)).copy()


def numbers(images: np.ndarray) -> list[int]:
    """The numbers that frames show."""
    width = images.shape[2] // 8
    bits = images[:, images.shape[1] // 2, width // 2 :: width, 0] > 120
    return [int(row @ (1 << np.arange(8))) for row in bits]


def write(
    path: Path,
    codec: str,
    rate: Fraction = Fraction(25),
    times: Sequence[int] = range(60),
    late_s: Fraction = Fraction(0),
    size: tuple[int, int] = (48, 64),
    **options: str,
) -> Path:
    """Encode frame n at times[n] / rate + late_s."""
    options = ({"deadline": "realtime", "b": "2M"} if "vp" in codec else {}) | options
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, options={"g": "12", "threads": "1", **options})
        (stream.height, stream.width), stream.thread_count = size, 1
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
        stream.codec_context.qmin, stream.codec_context.qmax = 2, 4
        for time, image in zip(times, numbered(len(times), size), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = time + round(late_s * rate), 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def join(sources: Iterable[Path], target: Path, late_s: float = 0.0, **options: str) -> Path:
    """Copy the packets of one file after another; the first says what they are."""
    with av.open(str(target), "w", options=options) as new:
        stream = None
        offset = late_s
        for source in sources:
            with av.open(str(source)) as old:
                stream = stream or new.add_stream_from_template(old.streams.video[0])
                begin, last = offset, offset
                for packet in old.demux(video=0):
                    if packet.dts is None:
                        continue
                    last = max(last, begin + float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    packet.pts += round(begin / packet.time_base)
                    packet.dts += round(begin / packet.time_base)
                    packet.stream = stream
                    new.mux(packet)
                offset = last
    return target
