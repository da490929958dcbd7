"""Encoding and decoding of frames: JPEG, and H.264 in mp4."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
PNG = b"\x89PNG\r\n\x1a\n"
"""How a PNG begins."""
_KEYFRAME_EVERY = 12
_SEGMENT, _SIZE = struct.Struct(">BBH"), struct.Struct(">HH")


def jpeg_rgb(images: Sequence[Image] | Image, quality: int = 95) -> list[bytes]:
    """Encode uint8 RGB images [T,H,W,3] as one JPEG each."""
    return [_jpeg(cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False), quality) for image in images]


def jpeg_gray(images: Sequence[Image] | Image, quality: int = 95) -> list[bytes]:
    """Encode uint8 grey images [T,H,W] as one JPEG each."""
    return [_jpeg(image, quality) for image in images]


def decode_rgb(data: bytes | memoryview, size: tuple[int, int] | None = None) -> Image:
    """Decode one JPEG to uint8 RGB [H,W,3]; ValueError if it is not one, or its header states another `size` (H, W)."""
    return _decode(data, cv2.IMREAD_COLOR_RGB, size)


def decode_gray(data: bytes | memoryview, size: tuple[int, int] | None = None) -> Image:
    """Decode one JPEG to uint8 grey [H,W]; ValueError if it is not one, or its header states another `size` (H, W)."""
    return _decode(data, cv2.IMREAD_GRAYSCALE, size)


def jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    """Return height and width from the header of a JPEG; ValueError if it is not one."""
    at = 2
    try:
        while True:
            begin, marker, length = _SEGMENT.unpack_from(data, at)
            if begin != 0xFF:
                break
            if marker == 0xFF:  # fills up to the next marker
                at += 1
                continue
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
                height, width = _SIZE.unpack_from(data, at + 5)
                return height, width
            at += 2 + max(2, length)
    except struct.error:  # it ends before
        pass
    raise ValueError(f"{len(data)} bytes are not a JPEG")


def png_size(data: bytes | memoryview) -> tuple[int, int]:
    """Return height and width from the header of a PNG; ValueError if it is not one."""
    if bytes(data[:8]) != PNG or bytes(data[12:16]) != b"IHDR" or len(data) < 24:
        raise ValueError(f"{len(data)} bytes are not a PNG")
    return int.from_bytes(data[20:24]), int.from_bytes(data[16:20])


def write_mp4(
    file: str | os.PathLike[str] | BinaryIO,
    images: Iterable[Image],
    fps: float,
    *,
    crf: int = 18,
    qp: int | None = None,
    keyframe_every: int = _KEYFRAME_EVERY,
) -> None:
    """Encode uint8 RGB [T,H,W,3] as H.264 in mp4; the same frames give the same file.

    Args:
        file: Where to write.
        images: Frames, [T,H,W,3] or one after the other; height and width must be even (yuv420p).
        fps: Frames per second.
        crf: Quality, 0 (lossless) to 51; unused where `qp` is given.
        qp: A constant quantiser: the quality of a frame then depends on that frame alone.
        keyframe_every: Distance of key frames. With 1 every frame is coded alone, so that together with `qp`
            reversing the frames reverses the decoded video exactly.
    """
    import av

    quality = {"crf": str(crf)} if qp is None else {"qp": str(qp)}
    rate = Fraction(fps).limit_denominator(30000)
    target = os.fspath(file) if isinstance(file, str | os.PathLike) else file
    with av.open(target, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # slices of a threaded encoder would make the bytes depend on the machine
        # With x264's macroblock tree the bytes of small frames depend on uninitialised memory.
        same = {"threads": "1", "mbtree": "0"}
        stream.options = {**quality, "g": str(keyframe_every), "bf": "0", "preset": "veryfast", **same}
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def read_mp4(data: bytes | memoryview, indices: Sequence[int], size: tuple[int, int] | None = None) -> Image:
    """Decode frames of an mp4 that `write_mp4` made.

    Args:
        data: The file.
        size: Height and width that its header must state; None takes any.
        indices: Numbers of frames, ascending. Frames between them are decoded too, except where a key frame lets
            them be skipped.

    Returns:
        uint8 RGB [n,H,W,3].

    Raises:
        ValueError: it is not such a file, states another size, or has no such frame.
    """
    import av

    images: list[Image] = []
    try:
        with av.open(io.BytesIO(data), "r", format="mp4") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stated = (stream.codec_context.height, stream.codec_context.width)
            if size is not None and stated != size:
                raise ValueError(_other_size(stated, size))
            if not stream.average_rate or not stream.time_base:
                raise ValueError("the mp4 has no frames")
            ticks = 1 / (stream.average_rate * stream.time_base)  # per frame
            frames = container.decode(stream)
            frame: Any = None
            at = -1
            for index in indices:
                if index > at + _KEYFRAME_EVERY:
                    container.seek(round(index * ticks), stream=stream)  # to the key frame before it
                    frames = container.decode(stream)
                while at < index:
                    frame = next(frames, None)
                    if frame is None:
                        raise ValueError(f"the mp4 has no frame {index}")
                    at = round(frame.pts / ticks)
                if at != index:
                    raise ValueError(f"the mp4 has no frame {index}")
                images.append(frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"the mp4 cannot be decoded ({error})") from error
    return np.stack(images)


def _jpeg(image: Image, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"an image of shape {image.shape} cannot be encoded as JPEG")
    return data.tobytes()


def _other_size(stated: tuple[int, int], size: tuple[int, int]) -> str:
    return f"{stated[1]} x {stated[0]} pixels, not {size[1]} x {size[0]}"


def _decode(data: bytes | memoryview, flag: int, size: tuple[int, int] | None) -> Image:
    if size is not None and (stated := jpeg_size(data)) != size:  # before memory is taken for it
        raise ValueError(_other_size(stated, size))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if image is None:
        raise ValueError(f"{len(data)} bytes are not a JPEG")
    return image.astype(np.uint8, copy=False)
