"""Verification of a prepared dataset: every byte and every count is read again, and what is damaged stops nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pyarrow as pa

from tasks.data import storage, stored_video
from tasks.data.arrow_file import ArrowFile, DamagedMember, Sliceable, pack_images
from tasks.data.manifest import digest
from tasks.data.sample import FLOW, JSON, RGB, read_facts, sample_key
from tasks.data.settings import PrepareSettings
from tasks.data.shard import plan, tar_path
from tasks.data.sidecar import DamagedSidecar, Piece, Record, Sidecar, numbered, read_sidecar, read_sidecars
from tasks.data.table_file import differs_from_written
from tasks.data.tables import (
    BadTable,
    description_bytes,
    read_description,
    read_settings,
    read_table,
    read_tables,
    records_of,
    refuse_contradictions,
    table_bytes,
    table_path,
)
from tasks.errors import UserError
from tasks.remote import reason
from tasks.video.codecs import decode_gray, decode_rgb
from tasks.video.decoder_process import DecoderProcess
from tasks.words import counted

_AT_ONCE = 1 << 22  # bytes


def shards_of(root: str) -> list[int]:
    """Return the numbers of the shards to verify: those that are planned, and those that are there."""
    try:
        description = read_description(root)
        manifest, _ = read_tables(root, description)
        planned = {shard.index for shard in plan(manifest, read_settings(description))}
    except BadTable:
        planned = set()
    return sorted(planned.union(numbered(root, "json"), numbered(root, "tar")))


def verify_shard(root: str, index: int) -> list[str]:
    """Check a whole shard: checksum, members, every image, and the counts of every video.

    Returns:
        One line per difference; none if all is well. A shard with damaged bytes is reported once, not image by image.
    """
    where = f"shard {index:06d}"
    try:
        sidecar = read_sidecar(root, index)
    except DamagedSidecar as error:
        return [str(error)]
    if sidecar is None:
        return [f"{where} has no sidecar, so it was never finished: run the same `marey prepare` again"]
    path = tar_path(root, index)
    if not storage.exists(path):
        return [f"{where} has a sidecar but no tar: delete the sidecar and run the same `marey prepare` again"]
    try:
        data = storage.open_whole(path)
        if len(data) != sidecar.bytes:
            return [f"{where} has {len(data)} bytes, its sidecar says {sidecar.bytes}"]
        if _sha256(data) != sidecar.sha256:
            return [f"{where} does not match the sha256 in its sidecar"]
        return [f"{where}{text}" for text in _verify_content(root, sidecar, data)]
    except OSError as error:
        return [f"{path} cannot be read: {reason(error)}"]


def verify_dataset(root: str) -> list[str]:
    """Compare dataset.json, manifest, splits, records and sidecars with one another; no shard is read.

    Returns:
        One line per difference.

    Raises:
        UserError: there is no prepared dataset.
    """
    description, differences = _description(root)
    tables = {}
    for name in ("manifest", "splits"):
        try:
            table = read_table(root, name)
        except BadTable as error:
            differences.append(str(error))
            continue
        if description is not None and digest(table) != description[name]:
            differences.append(f"{name}.parquet is not the one that dataset.json describes")
            continue
        tables[name] = table
        differences += _bytes_differ(root, name, table)
    if description is not None and len(tables) == 2:
        try:
            refuse_contradictions(root, description, tables["manifest"], tables["splits"])
        except BadTable as error:
            differences.append(str(error))
    damaged: list[DamagedSidecar] = []
    sidecars = {sidecar.shard: sidecar for sidecar in read_sidecars(root, damaged)}
    differences += map(str, damaged)
    if description is not None and "manifest" in tables:
        differences += _compare_shards(root, description, tables["manifest"], sidecars, {e.shard for e in damaged})
    try:
        records = read_table(root, "records")
    except BadTable as error:
        return [*differences, str(error)]
    if damaged:
        # It has more than the sidecars that can be read.
        return differences + _bytes_differ(root, "records", records)
    made = [record for sidecar in sidecars.values() for record in sidecar.records]
    return differences + (_compare_records(made, records) or _bytes_differ(root, "records", records_of(made)))


def _description(root: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return dataset.json, None if it is damaged, and what is wrong with it."""
    try:
        description = read_description(root)
    except BadTable as error:
        return None, [str(error)]
    if storage.read_small(storage.join(root, "dataset.json")) != description_bytes(description):
        return description, ["dataset.json is not as marey writes it, though it says the same"]
    return description, []


def _bytes_differ(root: str, name: str, table: pa.Table) -> list[str]:
    if differs_from_written(table_bytes(root, name), table):
        return [f"{table_path(root, name)} has other bytes than marey writes: run the same `marey prepare` again"]
    return []


def _compare_shards(
    root: str, description: dict[str, Any], manifest: pa.Table, sidecars: dict[int, Sidecar], damaged: set[int]
) -> list[str]:
    plans = plan(manifest, read_settings(description))
    differences = []
    for shard in plans:
        sidecar = sidecars.get(shard.index)
        where = f"shard {shard.index:06d}"
        if sidecar is None:
            differences += [] if shard.index in damaged else [f"{where} is missing"]
            continue
        if sidecar.settings != description["settings_digest"]:
            differences.append(f"{where} was made with other settings")
        if sidecar.provisional:
            differences.append(f"{where} is provisional: run the same `marey prepare` again")
        if [r.video_id for r in sidecar.records] != [row["video_id"] for row in shard.take(manifest)]:
            differences.append(f"{where} holds other videos than planned")
        if not storage.exists(tar_path(root, shard.index)):
            differences.append(f"{where} has no tar")
    unplanned = (sidecars.keys() | damaged | {*numbered(root, "tar")}) - {shard.index for shard in plans}
    return differences + [f"shard {index:06d} is not part of the plan" for index in sorted(unplanned)]


def _sha256(data: Sliceable) -> str:
    state = hashlib.sha256()
    for start in range(0, len(data), _AT_ONCE):
        state.update(data[start : start + _AT_ONCE])
    return state.hexdigest()


def _verify_content(root: str, sidecar: Sidecar, data: Sliceable) -> list[str]:
    """Return what is wrong with the members of a shard, to be put behind its number."""
    places = {member.name: (member.offset, member.offset + member.size) for member in sidecar.members}
    try:
        settings = read_settings(read_description(root))
    except UserError:
        return []  # which is reported, and without which nobody knows what should be there
    differences = []
    expected = set()
    with DecoderProcess() as decoder:  # which starts with the first video
        for record in sidecar.records:
            expected |= _names(record, settings)
            found = _check(record, places, data, settings, decoder)
            differences += [f", video {record.video_id}: {text}" for text in found]
    return differences + [f": member {name} belongs to no record" for name in sorted(places.keys() - expected)]


def _check(
    record: Record,
    places: dict[str, tuple[int, int]],
    data: Sliceable,
    settings: PrepareSettings,
    decoder: DecoderProcess,
) -> list[str]:
    if record.status != "ok":
        return []
    pieces, flow = record.pieces, settings.flow != "none"
    frames, flows = sum(piece.frames for piece in pieces), sum(piece.flows for piece in pieces)
    differences = []
    if frames != record.frames or flows != record.flows:
        differences.append("its pieces do not add up to its frames and flows")
    if record.flows != (record.frames - 1 if flow else 0):
        differences.append(f"{counted(record.flows, 'flow')} for {counted(record.frames, 'frame')}")
    lacking = sorted(_names(record, settings) - places.keys())
    if lacking:
        return [*differences, f"{lacking[0]} is missing"]
    for number, piece in enumerate(pieces, 1):
        key = sample_key(record.video_id, number, len(pieces))
        rgb = f"{key}.{RGB[settings.rgb]}"
        differences += _facts(f"{key}.{JSON}", _member(data, places, f"{key}.{JSON}"), piece)
        content = _member(data, places, rgb)
        if settings.rgb == "h264":
            differences += stored_video.differences(rgb, content, piece.frames, record, decoder)
        else:
            differences += _images(rgb, content, piece.frames, record)
        if flow:
            differences += _images(f"{key}.{FLOW}", _member(data, places, f"{key}.{FLOW}"), piece.flows, record)
    return differences


def _member(data: Sliceable, places: dict[str, tuple[int, int]], name: str) -> bytes | memoryview:
    start, end = places[name]
    return data[start:end]


def _facts(name: str, data: bytes | memoryview, piece: Piece) -> list[str]:
    try:
        facts = read_facts(data)
    except ValueError as error:
        return [f"{name} is damaged ({error})"]
    return [
        f"{name} has {facts.get(field)} {field}, its record {getattr(piece, field)}"
        for field in ("frames", "flows")
        if facts.get(field) != getattr(piece, field)
    ]


def _images(name: str, data: bytes | memoryview, count: int, record: Record) -> list[str]:
    try:
        file = ArrowFile(data)
        if len(file) != count:
            return [f"{name} has {counted(len(file), 'row')}, not {count} as its record says"]
        metadata = file.texts
        rows = [file.row(row) for row in range(count)]
    except DamagedMember as error:
        return [f"{name} is damaged ({error})"]
    columns, decode = (("jpeg",), decode_rgb) if name.endswith(RGB["jpeg"]) else (("x", "y"), decode_gray)
    size = (record.height, record.width)
    for number, images in enumerate(rows):
        for image in images:
            try:
                decode(image, size)
            except ValueError as error:
                return [f"{name} row {number}: {error}"]
    if any(len(images) != len(columns) for images in rows):
        return [f"{name} has other columns"]
    written = pack_images({column: [row[i] for row in rows] for i, column in enumerate(columns)}, metadata)
    # Other readers follow what is not read here.
    return [] if written == data else [f"{name} has other bytes than marey writes for its images"]


def _names(record: Record, settings: PrepareSettings) -> set[str]:
    pieces = len(record.pieces)
    keys = [sample_key(record.video_id, number, pieces) for number in range(1, pieces + 1)]
    suffixes = [JSON, RGB[settings.rgb], *([FLOW] if settings.flow != "none" else [])]
    return {f"{key}.{suffix}" for key in keys for suffix in suffixes}


def _compare_records(sidecars: list[Record], records: pa.Table) -> list[str]:
    made = {record.video_id: {name: getattr(record, name) for name in records.column_names} for record in sidecars}
    table = records.to_pylist()
    counts = Counter(row["video_id"] for row in table)
    differences = [f"records.parquet has {n} rows for {video_id}" for video_id, n in counts.items() if n > 1]
    for row in table:
        if made.get(row["video_id"]) != row:
            differences.append(f"records.parquet differs from the sidecar for {row['video_id']}")
    differences += [f"records.parquet lacks {video_id}" for video_id in sorted(made.keys() - counts.keys())]
    return differences
