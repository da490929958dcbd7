"""Samples: what a shard holds of a video, and how to read it.

A sample has three members, which plain `webdataset` groups by the name before the first dot:

* `<key>.json`: video_id, piece (from 1), first_frame, label, label_id, group, fps, width, height, frames, flows,
  source, start_s, end_s, decoder
* `<key>.rgb.arrow`: an Arrow IPC file, uncompressed, with one binary column `jpeg`, a row per frame; or, where the
  dataset was prepared with `rgb: h264`, `<key>.rgb.mp4`, padded to even height and width
* `<key>.flow.arrow`: the same with columns `x` and `y`, a row per pair of frames: grey JPEGs of the quantised flow

Every row is a record batch of its own, so that a frame is read without its neighbours (from an mp4, with those since
the last key frame). Width, height, quality and, for flow, bound are in the metadata of the schema. The key is the video
id, with `~0001`, `~0002`, ... for a video in pieces.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.video.codecs import decode_gray, decode_rgb, read_mp4, write_mp4

FLOW, JSON = "flow.arrow", "json"
RGB = {"jpeg": "rgb.arrow", "h264": "rgb.mp4"}
"""Name of the member with the frames, by how they are stored."""


def sample_key(video_id: str, piece: int, pieces: int) -> str:
    """Return the name of a sample in its shard; `piece` counts from 1."""
    return video_id if pieces == 1 else f"{video_id}~{piece:04d}"


def write_rgb(jpegs: Sequence[bytes], *, height: int, width: int, quality: int) -> bytes:
    """Pack one JPEG per frame as `<key>.rgb.arrow`."""
    return _pack({"jpeg": jpegs}, {"height": height, "width": width, "quality": quality})


def write_rgb_h264(images: NDArray[np.uint8], *, fps: float, crf: int) -> bytes:
    """Pack uint8 frames [T,H,W,3] as `<key>.rgb.mp4`."""
    height, width = images.shape[1:3]
    even = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")  # 4:2:0 halves both
    file = io.BytesIO()
    write_mp4(file, even, fps or 25, crf=crf)
    return file.getvalue()


def read_rgb(
    data: bytes | memoryview, indices: Sequence[int], rgb: Literal["jpeg", "h264"], *, height: int, width: int
) -> NDArray[np.uint8]:
    """Return frames of `<key>.rgb.arrow` or `<key>.rgb.mp4`, uint8 [n,H,W,3]; `indices` ascend."""
    if rgb == "h264":
        return np.ascontiguousarray(read_mp4(data, indices)[:, :height, :width])
    return ArrowFile(data).rgb(indices)


def write_flow(x: Sequence[bytes], y: Sequence[bytes], *, height: int, width: int, quality: int, bound: float) -> bytes:
    """Pack two grey JPEGs per pair of frames as `<key>.flow.arrow`."""
    return _pack({"x": x, "y": y}, {"height": height, "width": width, "quality": quality, "bound": bound})


class ArrowFile:
    """Random access to the rows of a member, which may be a view into a memory-mapped shard.

    Opening reads the index only. One instance serves one thread at a time; open as many as needed.
    """

    def __init__(self, data: bytes | memoryview | pa.Buffer) -> None:
        self._reader = pa.ipc.open_file(pa.py_buffer(data))

    def __len__(self) -> int:
        return self._reader.num_record_batches

    @property
    def metadata(self) -> dict[str, float]:
        """Height, width, quality and, for flow, bound."""
        return {key.decode(): float(value) for key, value in (self._reader.schema.metadata or {}).items()}

    def row(self, index: int) -> list[memoryview]:
        """Return the encoded images of a row: [jpeg] or [x, y]."""
        batch = self._reader.get_batch(index)
        return [memoryview(column[0].as_buffer()) for column in batch.columns]

    def rgb(self, indices: Iterable[int]) -> NDArray[np.uint8]:
        """Return frames, uint8 [n,H,W,3], in the order asked for."""
        return np.stack([decode_rgb(self.row(int(i))[0]) for i in indices])

    def flow(self, indices: Iterable[int]) -> NDArray[np.uint8]:
        """Return quantised flow, uint8 [n,2,H,W], x before y."""
        return np.stack([[decode_gray(image) for image in self.row(int(i))] for i in indices])


def decode_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """Decode a sample that plain webdataset read: `WebDataset(...).map(decode_sample)`.

    Returns:
        `__key__`, the fields of the JSON, `rgb` uint8 [T,H,W,3] and, if there is flow, `flow` uint8 [P,2,H,W] with
        `bound`: `v = q * 2 * bound / 255 - bound` pixels per frame. P is T - 1, or T if another piece follows.
    """
    decoded = {"__key__": sample["__key__"], **json.loads(sample[JSON])}
    height, width = decoded["height"], decoded["width"]
    rgb: Literal["jpeg", "h264"] = "h264" if RGB["h264"] in sample else "jpeg"
    decoded["rgb"] = read_rgb(sample[RGB[rgb]], range(decoded["frames"]), rgb, height=height, width=width)
    if FLOW in sample:
        flow = ArrowFile(sample[FLOW])
        decoded["bound"] = flow.metadata["bound"]
        decoded["flow"] = flow.flow(range(len(flow))) if len(flow) else np.empty((0, 2, height, width), np.uint8)
    return decoded


def _pack(columns: dict[str, Sequence[bytes]], metadata: dict[str, float]) -> bytes:
    schema = pa.schema(
        [pa.field(name, pa.binary(), nullable=False) for name in columns],
        metadata={key: str(value) for key, value in metadata.items()},
    )
    sink = io.BytesIO()  # getvalue() makes no copy, while Arrow's own stream doubles as it grows and is then copied
    with pa.ipc.new_file(sink, schema) as writer:
        for row in zip(*columns.values(), strict=True):
            writer.write_batch(pa.record_batch([pa.array([value], pa.binary()) for value in row], schema=schema))
    return sink.getvalue()
