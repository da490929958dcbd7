"""Samples: what a shard holds of a video, and how to read it.

A sample has three members, which plain `webdataset` groups by the name before the first dot:

* `<key>.json`: video_id, piece (from 1), first_frame, label, label_id, group, fps, width, height, frames, flows,
  source, start_s, end_s, decoder
* `<key>.rgb.arrow`: an Arrow IPC file, uncompressed, with a binary column `jpeg`, a row per frame; or, where the
  dataset was prepared with `rgb: h264`, `<key>.rgb.mp4`, padded to even height and width
* `<key>.flow.arrow`: the same with columns `x` and `y`, a row per pair of frames: grey JPEGs of the quantised flow

Each has checksums (XXH3 of 64 bits), which are compared on every reading: the JSON in its field `xxh3`, each image in
the column `jpeg_xxh3`, `x_xxh3` or `y_xxh3`, the mp4 in its last box.

Every row is a record batch of its own, so that a frame is read without its neighbours (from an mp4, with those since
the last key frame). Width, height, quality and, for flow, bound are in the metadata of the schema. The key is the video
id, with `~0001`, `~0002`, ... for a video in pieces.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from tasks.data.arrow_file import ArrowFile, DamagedMember, Sliceable, pack_images
from tasks.data.sealed import seal, unseal
from tasks.errors import UserError
from tasks.video.codecs import read_mp4, write_mp4
from tasks.words import counted

FLOW, JSON = "flow.arrow", "json"
RGB = {"jpeg": "rgb.arrow", "h264": "rgb.mp4"}
"""Name of the member with the frames, by how they are stored."""
MOST_PIXELS = 1 << 26
"""Most pixels of a frame; a larger one is not prepared, and not believed where a dataset states it."""
_BOX = struct.Struct(">I4sQ")
"""An mp4's last box: its size, `free`, which players pass over, and the checksum of all bytes before it."""


def sample_key(video_id: str, piece: int, pieces: int) -> str:
    """Return the name of a sample in its shard; `piece` counts from 1."""
    return video_id if pieces == 1 else f"{video_id}~{piece:04d}"


def write_rgb(jpegs: Sequence[bytes], *, height: int, width: int, quality: int) -> bytes:
    """Pack one JPEG per frame as `<key>.rgb.arrow`."""
    return pack_images({"jpeg": jpegs}, {"height": height, "width": width, "quality": quality})


def write_rgb_h264(images: NDArray[np.uint8], *, fps: float, crf: int) -> bytes:
    """Pack uint8 frames [T,H,W,3] as `<key>.rgb.mp4`."""
    height, width = images.shape[1:3]
    even = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")  # 4:2:0 halves both
    file = io.BytesIO()
    write_mp4(file, even, fps or 25, crf=crf)
    content = file.getvalue()
    return content + _BOX.pack(_BOX.size, b"free", xxh3_64_intdigest(content))


def read_rgb(
    data: Sliceable,
    indices: Sequence[int],
    rgb: Literal["jpeg", "h264"],
    *,
    height: int,
    width: int,
    frames: int | None = None,
) -> NDArray[np.uint8]:
    """Return frames of `<key>.rgb.arrow` or `<key>.rgb.mp4`, uint8 [n,H,W,3]; `indices` ascend.

    Raises:
        ValueError: it does not match its checksums, or has another number (where given) or size of frames.
    """
    if rgb == "h264":
        content = check_mp4(data[:])
        padded = read_mp4(content, indices, (height + height % 2, width + width % 2))
        return np.ascontiguousarray(padded[:, :height, :width])
    return open_arrow(data, frames).rgb(indices, (height, width))


def check_mp4(data: bytes | memoryview) -> bytes | memoryview:
    """Return the mp4 as it is; DamagedMember unless it matches its checksum."""
    end = max(0, len(data) - _BOX.size)
    if data[end:] != _BOX.pack(_BOX.size, b"free", xxh3_64_intdigest(memoryview(data)[:end])):
        raise DamagedMember("the mp4 does not match its checksum")
    return data


def open_arrow(data: Sliceable, rows: int | None) -> ArrowFile:
    """Open a member; DamagedMember if it has another number of rows, where one is given."""
    file = ArrowFile(data)
    if rows is not None and len(file) != rows:
        raise DamagedMember(f"it has {counted(len(file), 'row')}, not {rows}")
    return file


def write_flow(x: Sequence[bytes], y: Sequence[bytes], *, height: int, width: int, quality: int, bound: float) -> bytes:
    """Pack two grey JPEGs per pair of frames as `<key>.flow.arrow`."""
    return pack_images({"x": x, "y": y}, {"height": height, "width": width, "quality": quality, "bound": bound})


def write_facts(facts: dict[str, Any]) -> bytes:
    """Return `<key>.json`."""
    return seal(facts, ascii_only=False)


def read_facts(data: bytes | memoryview) -> dict[str, Any]:
    """Return the content of `<key>.json`; ValueError if it is damaged."""
    return unseal(data)


def decode_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """Decode a sample that plain webdataset read: `WebDataset(...).map(decode_sample)`.

    Returns:
        `__key__`, the fields of the JSON, `rgb` uint8 [T,H,W,3] and, if there is flow, `flow` uint8 [P,2,H,W] with
        `bound`: `v = q * 2 * bound / 255 - bound` pixels per frame. P is T - 1, or T if another piece follows.

    Raises:
        UserError: a member does not match its checksum, or the others.
    """
    try:
        return _decode(sample)
    except (ValueError, KeyError, TypeError) as error:
        shard = sample.get("__url__", "its shard")
        raise UserError(
            f"video {sample['__key__']} cannot be read from {shard} ({error}): check the dataset with `marey verify`"
        ) from error


def _decode(sample: dict[str, Any]) -> dict[str, Any]:
    decoded = {"__key__": sample["__key__"], **read_facts(sample[JSON])}
    if sample["__key__"].partition("~")[0] != decoded["video_id"]:
        raise DamagedMember(f"its JSON is that of {decoded['video_id']!r}")
    frames, height, width = decoded["frames"], decoded["height"], decoded["width"]
    rgb: Literal["jpeg", "h264"] = "h264" if RGB["h264"] in sample else "jpeg"
    decoded["rgb"] = read_rgb(sample[RGB[rgb]], range(frames), rgb, frames=frames, height=height, width=width)
    if FLOW in sample:
        flow = open_arrow(sample[FLOW], decoded["flows"])
        decoded["bound"] = flow.metadata["bound"]
        pairs = range(len(flow))
        decoded["flow"] = flow.flow(pairs, (height, width)) if pairs else np.empty((0, 2, height, width), np.uint8)
    return decoded
