"""Pictures of a prepared dataset: the middle frame of some videos, and the motion from there to the next frame."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.pages import QUALITY, thumbnail, thumbnail_size
from tasks.data.index import read_index
from tasks.data.manifest import PARTS
from tasks.data.overview import Overview
from tasks.data.reader import Reader, Sample, piece_with
from tasks.data.samples import Samples, Videos
from tasks.video import dequantize
from tasks.video.colours import flow_colours

READERS = 16
"""Videos read at once: on an object store each costs several round trips."""
WITHIN_SCALE = 0.75
"""Fraction of the pictures whose fastest percent of pixels lies within the colour scale."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A video that is shown: its middle frame, and the motion from there to the next frame."""

    video_id: str
    label_id: int
    part: str | None
    """train, val or test; None where the split leaves it out."""
    frames: int
    seconds: float | None
    """None where the frame rate is unknown."""
    size: tuple[int, int]
    """Width and height of the stored frames."""
    rgb: bytes
    """JPEG."""
    flow: NDArray[np.float16] | None
    """[2, h, w] in pixels per frame, at the size of the JPEG; None without flow."""
    speed: float = 0.0
    """Mean over the whole field, in pixels per frame."""
    fastest: float = 0.0
    """99th percentile over the field, in pixels per frame."""
    clipped: float = 0.0
    """Fraction of the pixels at the bound of quantisation."""


def read_pictures(reader: Reader, overview: Overview, places: list[int]) -> list[Picture]:
    """Read the middle frame and its flow of each video at these places of the overview."""
    wanted = overview.videos.take(pa.array(places, pa.int64())).to_pylist()
    inside = overview.inside({row["shard"] for row in wanted})
    videos = Videos(overview.videos, reader.classes)
    with ThreadPoolExecutor(READERS, thread_name_prefix="marey-preview") as pool:
        parts: defaultdict[str, list[Sample]] = defaultdict(list)
        for rows in pool.map(lambda shard: read_index(reader, shard, inside[shard]), sorted(inside)):
            if rows is not None:
                for sample in Samples(rows[np.isin(rows["video"], places)], videos):
                    parts[sample.video_id].append(sample)
        return list(
            pool.map(
                lambda place, row: _picture(reader, parts[row["video_id"]], row, int(overview.part[place])),
                places,
                wanted,
            )
        )


def colour_scale(pictures: Sequence[Picture]) -> float:
    """Return the pixels per frame of a full colour: a round number, the same for all pictures."""
    fastest = [picture.fastest for picture in pictures if picture.flow is not None]
    top = max(float(np.quantile(fastest, WITHIN_SCALE)) if fastest else 0.0, 1.0)
    unit = 10.0 ** math.floor(math.log10(top))
    return next(step * unit for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * unit >= top)


def coloured(picture: Picture, scale: float) -> bytes | None:
    """Return the flow of a picture as a JPEG; None without flow."""
    if picture.flow is None:
        return None
    image = flow_colours(picture.flow.astype(np.float32), scale)
    full = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # the colours are the content
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY, *full])[1].tobytes()


def _picture(reader: Reader, parts: list[Sample], row: dict[str, Any], part: int) -> Picture:
    if sum(sample.frames for sample in parts) != row["frames"]:
        raise UserError(
            f"{reader.uri} is not finished: records.parquet and its shard differ about {row['video_id']}; run the same "
            "`marey prepare` again"
        )
    sample, index = piece_with(parts, row["frames"] // 2)
    (frame,) = reader.rgb(sample, [index])
    size = thumbnail_size(row["width"], row["height"])
    motion: dict[str, Any] = {"flow": None}
    if sample.flow_range is not None and sample.flows:
        motion = _motion(reader.flow(sample, [min(index, sample.flows - 1)])[0], reader.settings.flow_bound, size)
    return Picture(
        video_id=row["video_id"],
        label_id=row["label_id"],
        part=PARTS[part] if part < len(PARTS) else None,
        frames=row["frames"],
        seconds=row["frames"] / row["fps"] if row["fps"] > 0 else None,
        size=(row["width"], row["height"]),
        rgb=thumbnail(frame),
        **motion,
    )


def _motion(quantized: NDArray[np.uint8], bound: float, size: tuple[int, int]) -> dict[str, Any]:
    flow = dequantize(quantized, bound)
    # No quantised value stands for exactly 0: the nearest ones on both sides count as no motion.
    flow[np.abs(flow) < 2 * bound / 255] = 0
    speed = np.hypot(*flow)
    small = cv2.resize(flow.transpose(1, 2, 0), size, interpolation=cv2.INTER_AREA)
    return {
        "flow": small.transpose(2, 0, 1).astype(np.float16),
        "speed": float(speed.mean()),
        "fastest": float(np.quantile(speed, 0.99)),
        "clipped": float(np.isin(quantized, (0, 255)).any(0).mean()),
    }
