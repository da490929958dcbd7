"""The index of a shard's samples, from its sidecar."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.data.reader import Reader
from tasks.data.sample import FLOW, RGB, sample_key
from tasks.data.samples import ROW
from tasks.data.sidecar import DamagedSidecar, read_sidecar
from tasks.words import counted


def read_index(reader: Reader, shard: int, videos: Mapping[str, int]) -> np.ndarray | None:
    """Return the samples of a shard in their order, ROW [n]; None if the shard was never finished.

    Args:
        reader: the dataset.
        shard: its number.
        videos: video_id -> place in the table of videos, for all videos of the shard and no others.

    Raises:
        UserError: its sidecar is damaged, or does not belong here.
    """
    sidecar = read_sidecar(reader.uri, shard)
    if sidecar is None:
        return None
    if sidecar.settings != reader.description["settings_digest"]:
        raise DamagedSidecar(reader.uri, shard, "its shard was made with other settings")
    records = sidecar.records
    if len(records) != len(videos) or {record.video_id for record in records} != videos.keys():
        raise DamagedSidecar(reader.uri, shard, "its shard holds other videos than planned")
    sound = [record for record in records if record.pieces]  # a failed video has none
    pieces = [piece for record in sound for piece in record.pieces]
    counts = [len(record.pieces) for record in sound]
    keys = [
        sample_key(record.video_id, number, count)
        for record, count in zip(sound, counts, strict=True)
        for number in range(1, count + 1)
    ]
    rows = np.zeros(len(keys), ROW)
    rows["shard"] = shard
    rows["video"] = np.repeat([videos[record.video_id] for record in sound], counts)
    rows["height"] = np.repeat([record.height for record in sound], counts)
    rows["width"] = np.repeat([record.width for record in sound], counts)
    rows["frames"] = [piece.frames for piece in pieces]
    rows["flows"] = [piece.flows for piece in pieces]
    rows["piece_index"] = [number for count in counts for number in range(count)]
    members = sidecar.members
    places = {member.name: place for place, member in enumerate(members, 1)}
    starts = np.array([0, *[member.offset for member in members]])  # at 0 lies no member: its header is before it
    sizes = np.array([0, *[member.size for member in members]])
    for name, suffix in (("rgb", f".{RGB[reader.settings.rgb]}"), ("flow", f".{FLOW}")):
        own = np.array([places.get(key + suffix, 0) for key in keys], np.int64)
        rows[name][:, 0] = starts[own]
        rows[name][:, 1] = starts[own] + sizes[own]
    wrong = _first_wrong(rows, has_flow=reader.settings.flow != "none")
    if wrong is not None:
        place, reason = wrong
        raise DamagedSidecar(reader.uri, shard, f"{reason} of {keys[place]!r}")
    return rows


def _first_wrong(rows: np.ndarray, *, has_flow: bool) -> tuple[int, str] | None:
    """Return the place of the first sample that cannot be, and what is wrong."""
    frames, flows = rows["frames"], rows["flows"]
    lacks = (rows["rgb"][:, 1] == 0) | ((rows["flow"][:, 1] != 0) != has_flow)
    # The flow to the first frame of the next piece is one more.
    pairs = (flows == frames - 1) | (flows == frames) if has_flow else flows == 0
    fits = (frames > 0) & (frames <= rows["rgb"][:, 1] - rows["rgb"][:, 0]) & pairs
    wrong = np.flatnonzero(lacks | ~fits)
    if not len(wrong):
        return None
    place = int(wrong[0])
    if lacks[place]:
        return place, "it lacks frames or flow"
    return place, f"it has {counted(int(frames[place]), 'frame')} and {counted(int(flows[place]), 'flow')}"
