"""Small undamaged videos in many containers, the same bytes on every call, for the fuzz test to damage."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache

import av
import numpy as np

FRAMES = 12
RATE = 10
AUDIO = {"aac": (44100, "fltp", 1024), "mp2": (44100, "s16", 1152), "libopus": (48000, "flt", 960)}
"""Sample rate, sample format and samples per frame of each encoder."""


@dataclass(frozen=True)
class Whole:
    """Recipe of one of the videos."""

    name: str
    container: str
    codec: str
    pix_fmt: str = "yuv420p"
    audio: str = ""
    size: tuple[int, int] = (32, 64)
    """Height and width; decord reads frames of this width, and leaves narrower ones to PyAV."""
    muxer: tuple[tuple[str, str], ...] = ()
    encoder: tuple[tuple[str, str], ...] = ()


FASTSTART = (("movflags", "+faststart"),)
X264 = (("g", "6"), ("preset", "veryfast"), ("qp", "20"))
WHOLES = [
    Whole("mp4", "mp4", "libx264", encoder=(*X264, ("bf", "0"))),
    Whole("mp4-sound", "mp4", "libx264", audio="aac", muxer=FASTSTART, encoder=(*X264, ("bf", "2"))),
    Whole("mp4-mpeg4", "mp4", "mpeg4"),
    Whole("mp4-fragments", "mp4", "libx264", muxer=(("movflags", "frag_keyframe+empty_moov"),), encoder=X264),
    Whole("mov", "mov", "mjpeg", "yuvj420p"),
    Whole("mov-sound", "mov", "libx264", audio="aac", size=(16, 16), encoder=X264),
    Whole("mkv", "matroska", "libx264", audio="aac", encoder=(*X264, ("bf", "2"))),
    Whole("mkv-mjpeg", "matroska", "mjpeg", "yuvj420p", size=(16, 24)),
    Whole("webm", "webm", "libvpx", encoder=(("g", "6"), ("deadline", "realtime"))),
    Whole("webm-sound", "webm", "libvpx-vp9", audio="libopus", encoder=(("g", "6"), ("deadline", "realtime"))),
    Whole("avi", "avi", "mpeg4", audio="mp2", encoder=(("g", "6"),)),
    Whole("avi-mjpeg", "avi", "mjpeg", "yuvj420p"),
    Whole("ts", "mpegts", "libx264", encoder=X264),
    Whole("ts-sound", "mpegts", "mpeg2video", audio="mp2", encoder=(("g", "6"),)),
    Whole("flv", "flv", "libx264", audio="aac", encoder=X264),
    Whole("flv-sorenson", "flv", "flv"),
    Whole("gif", "gif", "gif", "rgb8"),
]  # fmt: skip


@cache
def content(whole: Whole) -> bytes:
    """Return the bytes of an undamaged video of 12 frames at 10 per second."""
    with tempfile.TemporaryDirectory(prefix="marey-") as folder:
        path = os.path.join(folder, "video")  # a named file: movflags=faststart opens it a second time
        _write(path, whole)
        with open(path, "rb") as file:
            return file.read()


def _write(path: str, whole: Whole) -> None:
    options = {"fflags": "+bitexact", **dict(whole.muxer)}
    with av.open(path, "w", format=whole.container, options=options) as container:
        video = container.add_stream(whole.codec, rate=RATE)
        video.height, video.width = whole.size
        video.pix_fmt = whole.pix_fmt
        video.thread_count = 1
        video.options = {"threads": "1", "flags": "+bitexact", **dict(whole.encoder)}
        rate, form, samples = AUDIO.get(whole.audio, (0, "", 0))
        audio = container.add_stream(whole.audio, rate=rate, layout="mono", bit_rate=32000) if whole.audio else None
        sent = 0
        for number, image in enumerate(_images(*whole.size)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            while audio and sent < rate * (number + 1) / RATE:
                container.mux(audio.encode(_tone(rate, form, samples, sent)))
                sent += samples
        container.mux(video.encode(None))
        if audio:
            container.mux(audio.encode(None))


def _images(height: int, width: int) -> list[np.ndarray]:
    """Draw frames that all differ: a moving texture, and bars that count."""
    y, x = np.mgrid[:height, :width]
    images = []
    for number in range(FRAMES):
        wave = 128 + 60 * np.sin((x + 2 * number) / 4) * np.cos((y - number) / 5)
        image = np.stack([wave, 255 - wave, np.full_like(wave, 20 * number)], -1)
        image[: height // 4, : width * (number + 1) // FRAMES] = 255
        images.append(image.astype(np.uint8))
    return images


def _tone(rate: int, form: str, samples: int, at: int) -> av.AudioFrame:
    wave = 0.3 * np.sin(2 * np.pi * 440 * (np.arange(samples) + at) / rate)[None]
    data = (wave * 32767).astype(np.int16) if form == "s16" else wave.astype(np.float32)
    frame = av.AudioFrame.from_ndarray(data, format=form, layout="mono")
    frame.sample_rate, frame.pts = rate, at
    return frame
