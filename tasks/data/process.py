"""Prepare one video: decode it, compute its flow, and encode both as samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.assembly import Assembly, Piece, Processed
from tasks.data.sample import (
    FLOW,
    JSON,
    RGB,
    sample_key,
    write_facts,
    write_flow,
    write_rgb,
    write_rgb_h264,
)
from tasks.data.settings import PrepareSettings
from tasks.video import DecoderProcess, VideoError, quantize, tvl1
from tasks.video.codecs import jpeg_gray, jpeg_rgb
from tasks.video.flow import to_gray
from tasks.video.reading import Decoder
from tasks.words import counted

_BLOCK = 16  # pairs whose real-valued flow is in memory at a time
_LONGEST_SIDE = {"jpeg": 65_500, "h264": 16_384}  # of what the encoders take, in pixels


def process_video(row: dict[str, Any], settings: PrepareSettings, decoder: DecoderProcess) -> Processed:
    """Prepare a video, one piece after another; all its samples are in memory at the end.

    A video longer than `max_sample_frames` becomes consecutive pieces of that many frames, each but the last with the
    flow to the first frame of the next; a single frame left over goes to the piece before it.

    Args:
        row: A row of the manifest.
        settings: How to prepare it.
        decoder: A child process, reused from video to video.

    Returns:
        Its record, and its samples if it is ok. An unusable video gives a failed record, not an exception.
    """
    assembly = Assembly(row["video_id"], settings.max_sample_frames, settings.decoder)
    requests = [assembly.first()]
    while requests and not assembly.done:
        request = requests.pop(0)
        try:
            outcome: Piece | VideoError = process_piece(row, settings, decoder, request.number, request.decoder)
        except VideoError as error:
            outcome = error
        requests += assembly.take(request, outcome)
    return Processed(assembly.record(), assembly.members(), assembly.seconds())


def process_piece(
    row: dict[str, Any], settings: PrepareSettings, decoder: DecoderProcess, number: int = 0, choice: Decoder = "auto"
) -> Piece:
    """Prepare one piece of a video; `number` counts from 0.

    Raises:
        VideoError: something is wrong with the video, or with this piece of it.
    """
    seconds = {"decode": 0.0, "flow": 0.0, "encode": 0.0}
    limit = settings.max_sample_frames
    first = number * limit
    with _timed(seconds, "decode"):
        frames = decoder.decode(
            row["uri"],
            start_s=row["start_s"],
            end_s=row["end_s"],
            first=first,
            count=limit + 2,  # the next piece's first frame for the flow, and one to see whether it has a second
            short_side=settings.short_side,
            longest_side=_LONGEST_SIDE[settings.rgb],
            decoder=choice,
        )
    images = frames.images
    last = len(images) < limit + 2
    if last and first + len(images) < settings.min_frames:
        raise VideoError("too_short", f"{counted(len(images), 'frame')} of at least {settings.min_frames}")
    height, width = images.shape[1:3]
    facts = {"width": width, "height": height, "fps": round(frames.fps, 6), "decoder": frames.decoder}
    own = images if last else images[: limit + 1]
    files, flows = _encode(own, frames.fps, last, settings, seconds)
    piece = Piece(first, len(own) if last else limit, flows, last, frames.total, facts, [], 0, seconds)
    key = sample_key(row["video_id"], number + 1, 1 if number == 0 and last else number + 2)
    piece.members = [(f"{key}.{JSON}", _describe(row, number + 1, piece))]
    piece.members += [(f"{key}.{suffix}", data) for suffix, data in files.items()]
    piece.bytes = sum(len(data) for _, data in piece.members)
    return piece


def frames_and_flow(
    images: NDArray[np.uint8], settings: PrepareSettings
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return frames, uint8 [T,H,W,3], and their quantised flow [T-1,2,H,W] or None; for prediction from memory."""
    if settings.flow == "none":
        return images, None
    flow = np.empty((len(images) - 1, 2, *images.shape[1:3]), np.uint8)
    done = 0
    for block in _flow_blocks(images, settings):
        flow[done : done + len(block)] = block
        done += len(block)
    return images, flow


def _encode(
    images: NDArray[np.uint8], fps: float, last: bool, settings: PrepareSettings, seconds: dict[str, float]
) -> tuple[dict[str, bytes], int]:
    """Return a piece's files by suffix, and its number of pairs; unless `last`, the last image is the next piece's."""
    height, width = images.shape[1:3]
    with _timed(seconds, "encode"):
        files = {RGB[settings.rgb]: _encode_rgb(images if last else images[:-1], fps, settings)}
    if settings.flow == "none":
        return files, 0
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
    files[FLOW] = write_flow(x, y, height=height, width=width, quality=quality, bound=bound)
    return files, len(x)


def _encode_rgb(images: NDArray[np.uint8], fps: float, settings: PrepareSettings) -> bytes:
    if settings.rgb == "h264":
        return write_rgb_h264(images, fps=fps, crf=settings.rgb_crf)
    height, width = images.shape[1:3]
    jpegs = jpeg_rgb(images, settings.rgb_quality)
    return write_rgb(jpegs, height=height, width=width, quality=settings.rgb_quality)


def _describe(row: dict[str, Any], number: int, piece: Piece) -> bytes:
    taken = ("video_id", "label", "label_id", "group", "start_s", "end_s")
    content = {key: row[key] for key in taken} | piece.facts | {"source": row["uri"], "piece": number}
    content |= {"first_frame": piece.first, "frames": piece.frames, "flows": piece.flows}
    return write_facts(content)


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
