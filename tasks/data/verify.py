"""Verification of a prepared dataset: every byte and every count is read again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import pyarrow as pa

from tasks.data import storage
from tasks.data.manifest import digest
from tasks.data.sample import FLOW, JSON, RGB, ArrowFile, sample_key
from tasks.data.settings import PrepareSettings
from tasks.data.shard import plan, read_sidecar, read_sidecars, tar_path
from tasks.data.tables import RECORDS, BadTable, read_description, read_settings, read_table
from tasks.video.codecs import decode_gray, decode_rgb, mp4_frames, read_mp4


def verify_shard(root: str, index: int) -> list[str]:
    """Check a whole shard: checksum, members, every image, and the counts of every video.

    Returns:
        One line per difference; none if all is well. A shard with damaged bytes is reported once, not image by image.
    """
    where = f"shard {index:06d}"
    sidecar = read_sidecar(root, index)
    if sidecar is None:
        return [f"{where} has no sidecar, so it was never finished: run the same `marey prepare` again"]
    if not storage.exists(tar_path(root, index)):
        return [f"{where} has a sidecar but no tar: delete the sidecar and run the same `marey prepare` again"]
    data = storage.view(tar_path(root, index))
    if len(data) != sidecar["bytes"]:
        return [f"{where} has {len(data)} bytes, its sidecar says {sidecar['bytes']}"]
    if hashlib.sha256(data).hexdigest() != sidecar["sha256"]:
        return [f"{where} does not match the sha256 in its sidecar"]
    members = {name: data[offset : offset + size] for name, offset, size in sidecar["members"]}
    settings = read_settings(read_description(root))
    differences = []
    expected = set()
    for record in sidecar["records"]:
        expected |= _names(record, settings)
        differences += [f"{where}, video {record['video_id']}: {text}" for text in _check(record, members, settings)]
    differences += [f"{where}: member {name} belongs to no record" for name in sorted(members.keys() - expected)]
    return differences


def verify_dataset(root: str) -> list[str]:
    """Compare dataset.json, manifest, splits, records and sidecars with one another; no shard is read.

    Returns:
        One line per difference.

    Raises:
        UserError: there is no prepared dataset.
    """
    description = read_description(root)
    tables, differences = [], []
    for name in ("manifest", "splits", "records"):
        try:
            tables.append(read_table(root, name))
        except BadTable as error:
            differences.append(str(error))
    if differences:
        return differences
    manifest, splits, records = tables
    for name, table in (("manifest", manifest), ("splits", splits)):
        if digest(table) != description[name]:
            differences.append(f"{name}.parquet is not the one that dataset.json describes")
    if differences:
        return differences
    plans = plan(manifest, read_settings(description))
    sidecars = {sidecar["shard"]: sidecar for sidecar in read_sidecars(root)}
    for shard in plans:
        sidecar = sidecars.get(shard.index)
        where = f"shard {shard.index:06d}"
        if sidecar is None:
            differences.append(f"{where} is missing")
            continue
        if sidecar["settings"] != description["settings_digest"]:
            differences.append(f"{where} was made with other settings")
        if sidecar["provisional"]:
            differences.append(f"{where} is provisional: run the same `marey prepare` again")
        if [r["video_id"] for r in sidecar["records"]] != [row["video_id"] for row in shard.take(manifest)]:
            differences.append(f"{where} holds other videos than planned")
        if not storage.exists(tar_path(root, shard.index)):
            differences.append(f"{where} has no tar")
    unplanned = sidecars.keys() - {shard.index for shard in plans}
    differences += [f"shard {index:06d} is not part of the plan" for index in sorted(unplanned)]
    made = [record for sidecar in sidecars.values() for record in sidecar["records"]]
    return differences + _compare_records(made, records)


def _check(record: dict[str, Any], members: dict[str, memoryview], settings: PrepareSettings) -> list[str]:
    if record["status"] != "ok":
        return []
    pieces, flow = record["pieces"], settings.flow != "none"
    frames, flows = sum(piece["frames"] for piece in pieces), sum(piece["flows"] for piece in pieces)
    differences = []
    if frames != record["frames"] or flows != record["flows"]:
        differences.append("its pieces do not add up to its frames and flows")
    if record["flows"] != (record["frames"] - 1 if flow else 0):
        differences.append(f"{record['flows']} flows for {record['frames']} frames")
    lacking = sorted(_names(record, settings) - members.keys())
    if lacking:
        return [*differences, f"{lacking[0]} is missing"]
    for number, piece in enumerate(pieces, 1):
        key = sample_key(record["video_id"], number, len(pieces))
        content = json.loads(bytes(members[f"{key}.{JSON}"]))
        for name in ("frames", "flows"):
            if content[name] != piece[name]:
                differences.append(f"{key}.{JSON} has {content[name]} {name}, its record {piece[name]}")
        rgb = f"{key}.{RGB[settings.rgb]}"
        check_rgb = _video if settings.rgb == "h264" else _images
        differences += check_rgb(rgb, members[rgb], piece["frames"], record)
        if flow:
            differences += _images(f"{key}.{FLOW}", members[f"{key}.{FLOW}"], piece["flows"], record)
    return differences


def _images(name: str, data: memoryview, count: int, record: dict[str, Any]) -> list[str]:
    try:
        file = ArrowFile(data)
    except pa.ArrowInvalid as error:
        return [f"{name} is not an Arrow file ({error})"]
    if len(file) != count:
        return [f"{name} has {len(file)} rows, not {count} as its record says"]
    decode = decode_rgb if name.endswith(RGB["jpeg"]) else decode_gray
    for row in range(count):
        for image in file.row(row):
            try:
                shape = decode(image).shape[:2]
            except ValueError as error:
                return [f"{name} row {row}: {error}"]
            if shape != (record["height"], record["width"]):
                return [f"{name} row {row} is {shape[1]} x {shape[0]} pixels, unlike its record"]
    return []


def _video(name: str, data: memoryview, count: int, record: dict[str, Any]) -> list[str]:
    try:
        found = mp4_frames(data)
        if found != count:
            return [f"{name} has {found} frames, not {count} as its record says"]
        height, width = read_mp4(data, range(count)).shape[1:3]
    except ValueError as error:
        return [f"{name}: {error}"]
    if (height, width) != (record["height"] + record["height"] % 2, record["width"] + record["width"] % 2):
        return [f"{name} is {width} x {height} pixels, unlike its record"]
    return []


def _names(record: dict[str, Any], settings: PrepareSettings) -> set[str]:
    pieces = len(record["pieces"])
    keys = [sample_key(record["video_id"], number, pieces) for number in range(1, pieces + 1)]
    suffixes = [JSON, RGB[settings.rgb], *([FLOW] if settings.flow != "none" else [])]
    return {f"{key}.{suffix}" for key in keys for suffix in suffixes}


def _compare_records(sidecars: list[dict[str, Any]], records: pa.Table) -> list[str]:
    made = {record["video_id"]: {name: record[name] for name in RECORDS.names} for record in sidecars}
    table = records.to_pylist()
    counts = Counter(row["video_id"] for row in table)
    differences = [f"records.parquet has {n} rows for {video_id}" for video_id, n in counts.items() if n > 1]
    for row in table:
        if made.get(row["video_id"]) != row:
            differences.append(f"records.parquet differs from the sidecar for {row['video_id']}")
    differences += [f"records.parquet lacks {video_id}" for video_id in sorted(made.keys() - counts.keys())]
    return differences
