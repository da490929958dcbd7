"""One video in, one record and its samples out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.sample import FLOW, JSON, RGB, sample_key, write_flow, write_rgb, write_rgb_h264
from tasks.data.settings import PrepareSettings
from tasks.video import DecoderProcess, VideoError, quantize, tvl1
from tasks.video.decode import Decoder
from tasks.video.encode import jpeg_gray, jpeg_rgb
from tasks.video.flow import to_gray

_BLOCK = 16  # pairs whose real-valued flow is in memory at a time
_LONGEST_SIDE = {"jpeg": ("JPEG", 65_500), "h264": ("H.264", 16_384)}


@dataclass
class Processed:
    """What became of a video."""

    record: dict[str, Any]
    """video_id, status (ok|failed), kind, message, decoder, frames, flows, width, height, fps, parts, seconds."""
    members: list[tuple[str, bytes]] = field(default_factory=list)
    """Name and content of each file of its samples; none for a failed video."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time in decode (with the resize), flow (with its quantisation) and encode."""


@dataclass
class _Part:
    first: int
    frames: int
    flows: int
    members: dict[str, bytes]


def process_video(row: dict[str, Any], settings: PrepareSettings, decoder: DecoderProcess) -> Processed:
    """Decode a video, compute its flow and encode both.

    A video longer than `max_sample_frames` becomes consecutive parts of that many frames, each but the last with the
    flow to the first frame of the next; a single frame left over stays with the part before it.

    Args:
        row: A row of the manifest.
        settings: What to make.
        decoder: A child process, reused from video to video.

    Returns:
        A record, and samples where it is ok. A video that cannot be used is a failed record, not an exception.
    """
    seconds = {"decode": 0.0, "flow": 0.0, "encode": 0.0}
    record = {"video_id": row["video_id"], "status": "failed", "kind": "", "message": "", "decoder": ""}
    record |= {"frames": 0, "flows": 0, "width": 0, "height": 0, "fps": 0.0, "parts": []}
    members: list[tuple[str, bytes]] = []
    try:
        parts, facts = _read(row, settings, decoder, seconds)
    except VideoError as error:
        record |= {"kind": error.kind, "message": error.message}
    else:
        record |= {
            "status": "ok",
            "frames": sum(p.frames for p in parts),
            "flows": sum(p.flows for p in parts),
            **facts,
        }
        record["parts"] = [{"first": p.first, "frames": p.frames, "flows": p.flows} for p in parts]
        for number, part in enumerate(parts, 1):
            key = sample_key(row["video_id"], number, len(parts))
            members.append((f"{key}.{JSON}", _describe(row, facts, number, part)))
            members.extend((f"{key}.{suffix}", data) for suffix, data in part.members.items())
    record["seconds"] = round(sum(seconds.values()), 3)
    return Processed(record, members, seconds)


def frames_and_flow(
    images: NDArray[np.uint8], settings: PrepareSettings
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Give uint8 frames [T,H,W,3] and their quantised flow [T-1,2,H,W], None without; for prediction from memory."""
    if settings.flow == "none":
        return images, None
    flow = np.empty((len(images) - 1, 2, *images.shape[1:3]), np.uint8)
    done = 0
    for block in _flow_blocks(images, settings):
        flow[done : done + len(block)] = block
        done += len(block)
    return images, flow


def _read(
    row: dict[str, Any],
    settings: PrepareSettings,
    decoder: DecoderProcess,
    seconds: dict[str, float],
    choice: Decoder = "auto",
) -> tuple[list[_Part], dict[str, Any]]:
    """Decode and encode part after part, so that no more than one part of frames is in memory."""
    limit = settings.max_sample_frames
    parts: list[_Part] = []
    used: Decoder = choice
    while True:
        first = len(parts) * limit
        try:
            with _timed(seconds, "decode"):
                frames = decoder.decode(
                    row["uri"],
                    start_s=row["start_s"],
                    end_s=row["end_s"],
                    first=first,
                    count=limit + 2,  # the next part's first frame for the flow, and one to see whether it has a second
                    short_side=settings.short_side,
                    decoder=used,
                )
        except VideoError:
            if parts and choice == "auto" and used == "decord":
                return _read(row, settings, decoder, seconds, "pyav")  # all parts by one decoder
            raise
        images, used = frames.images, "decord" if frames.decoder == "decord" else "pyav"
        last = len(images) < limit + 2
        if last and first + len(images) < settings.min_frames:
            raise VideoError("too_short", f"{len(images)} frames of at least {settings.min_frames}")
        height, width = images.shape[1:3]
        kind, longest = _LONGEST_SIDE[settings.rgb]
        if max(height, width) > longest:
            raise VideoError("unreadable", f"{width} x {height} pixels after resizing are too many for {kind}")
        own = images if last else images[: limit + 1]
        parts.append(_encode(own, frames.fps, first, last, settings, seconds))
        if last:
            return parts, {"width": width, "height": height, "fps": round(frames.fps, 6), "decoder": frames.decoder}


def _encode(
    images: NDArray[np.uint8], fps: float, first: int, last: bool, settings: PrepareSettings, seconds: dict[str, float]
) -> _Part:
    height, width = images.shape[1:3]
    frames = len(images) if last else len(images) - 1
    with _timed(seconds, "encode"):
        members = {RGB[settings.rgb]: _encode_rgb(images[:frames], fps, settings)}
    if settings.flow == "none":
        return _Part(first, frames, 0, members)
    x: list[bytes] = []
    y: list[bytes] = []
    blocks = _flow_blocks(images, settings)
    while True:
        with _timed(seconds, "flow"):
            block = next(blocks, None)
        if block is None:
            break
        with _timed(seconds, "encode"):
            x += jpeg_gray(block[:, 0], settings.flow_quality)
            y += jpeg_gray(block[:, 1], settings.flow_quality)
    quality, bound = settings.flow_quality, settings.flow_bound
    members[FLOW] = write_flow(x, y, height=height, width=width, quality=quality, bound=bound)
    return _Part(first, frames, len(x), members)


def _encode_rgb(images: NDArray[np.uint8], fps: float, settings: PrepareSettings) -> bytes:
    if settings.rgb == "h264":
        return write_rgb_h264(images, fps=fps, crf=settings.rgb_crf)
    height, width = images.shape[1:3]
    jpegs = jpeg_rgb(images, settings.rgb_quality)
    return write_rgb(jpegs, height=height, width=width, quality=settings.rgb_quality)


def _describe(row: dict[str, Any], facts: dict[str, Any], number: int, part: _Part) -> bytes:
    taken = ("video_id", "label", "label_id", "group", "start_s", "end_s")
    content = {key: row[key] for key in taken} | facts | {"source": row["uri"], "part": number}
    content |= {"first_frame": part.first, "frames": part.frames, "flows": part.flows}
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] += time.perf_counter() - begin


def _flow_blocks(images: NDArray[np.uint8], settings: PrepareSettings) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(images) - 1, _BLOCK):
        gray = to_gray(images[first : first + _BLOCK + 1])
        yield quantize(tvl1(gray, settings.tvl1, settings.flow_backend), settings.flow_bound)
