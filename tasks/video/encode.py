"""Frames to bytes and back: JPEG for the shards, mp4 for the built-in videos and tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def jpeg_rgb(images: Sequence[Image] | Image, quality: int = 95) -> list[bytes]:
    """Encode uint8 RGB images [T,H,W,3] as one JPEG each."""
    return [_jpeg(cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False), quality) for image in images]


def jpeg_gray(images: Sequence[Image] | Image, quality: int = 95) -> list[bytes]:
    """Encode uint8 grey images [T,H,W] as one JPEG each."""
    return [_jpeg(image, quality) for image in images]


def decode_rgb(data: bytes | memoryview) -> Image:
    """Decode one JPEG to uint8 RGB [H,W,3]; ValueError if it is none."""
    return _decode(data, cv2.IMREAD_COLOR_RGB)


def decode_gray(data: bytes | memoryview) -> Image:
    """Decode one JPEG to uint8 grey [H,W]; ValueError if it is none."""
    return _decode(data, cv2.IMREAD_GRAYSCALE)


def write_mp4(
    path: str | os.PathLike[str],
    images: Image,
    fps: float,
    *,
    crf: int = 18,
    qp: int | None = None,
    keyframe_every: int = 12,
) -> None:
    """Encode uint8 RGB [T,H,W,3] as H.264 in mp4; the same frames give the same file.

    Args:
        path: Where to write.
        images: Frames; height and width must be even (yuv420p).
        fps: Frames per second.
        crf: Quality, 0 (lossless) to 51; unused where `qp` is given.
        qp: A constant quantiser: the quality of a frame then depends on nothing but that frame.
        keyframe_every: Distance of key frames. With 1 every frame is coded alone, so that together with `qp`
            reversing the frames reverses the decoded video exactly.
    """
    import av

    quality = {"crf": str(crf)} if qp is None else {"qp": str(qp)}
    rate = Fraction(fps).limit_denominator(30000)
    with av.open(os.fspath(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # slices of a threaded encoder would make the bytes depend on the machine
        stream.options = {**quality, "g": str(keyframe_every), "bf": "0", "preset": "veryfast", "threads": "1"}
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _jpeg(image: Image, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"an image of shape {image.shape} cannot be encoded as JPEG")
    return data.tobytes()


def _decode(data: bytes | memoryview, flag: int) -> Image:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if image is None:
        raise ValueError(f"{len(data)} bytes are no JPEG")
    return image.astype(np.uint8, copy=False)
