"""The files beside the shards: dataset.json and the tables manifest, splits and records."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.data import storage
from tasks.data.manifest import classes_of, digest
from tasks.data.settings import PrepareSettings
from tasks.data.shard import FORMAT, num_shards, read_sidecars, settings_digest
from tasks.errors import UserError
from tasks.video.settings import TVL1

RECORDS = pa.schema(
    [
        ("video_id", pa.string()),
        ("status", pa.string()),
        ("kind", pa.string()),
        ("message", pa.string()),
        ("decoder", pa.string()),
        ("frames", pa.int64()),
        ("flows", pa.int64()),
        ("seconds", pa.float64()),
        ("shard", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
    ]
)


class BadTable(UserError):
    """A table of a dataset is missing or damaged."""


def describe(manifest: pa.Table, splits: pa.Table, settings: PrepareSettings) -> dict[str, Any]:
    """Return the content of dataset.json; `digest` covers everything: videos, labels, splits and settings."""
    digests = {"manifest": digest(manifest), "splits": digest(splits), "settings_digest": settings_digest(settings)}
    return {
        "format": FORMAT,
        "classes": classes_of(manifest),
        "videos": manifest.num_rows,
        "shards": num_shards(manifest, settings),
        "settings": asdict(settings),
        **digests,
        "digest": hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
    }


def is_dataset(uri: str) -> bool:
    """Return whether there is a prepared dataset, finished or not."""
    return storage.exists(storage.join(storage.absolute(uri), "dataset.json"))


def check_output(root: str, manifest_digest: str, settings: PrepareSettings) -> None:
    """Refuse an output that holds anything but the same videos prepared with the same settings.

    Raises:
        UserError: the output holds something else; the message names the first difference.
    """
    if not storage.exists(storage.join(root, "dataset.json")):
        found = storage.entries(root) if storage.exists(root) else []
        others = [name for name, _ in found if name not in (".lock", ".locks") and not name.endswith(".tmp")]
        if others:
            raise UserError(
                f"{root} is not empty (it holds {others[0]!r}) and not a prepared dataset: choose another output"
            )
        return
    held = read_description(root)
    for name, value in _flat(asdict(settings)).items():
        before = _flat(held["settings"]).get(name)
        if before != value:
            raise UserError(
                f"{root} was prepared with {name}={before!r}, not {value!r}: set it back, or choose another output"
            )
    if held["manifest"] != manifest_digest:
        raise UserError(
            f"{root} holds another dataset ({held['videos']} videos; paths, labels, groups or ranges differ): choose "
            "another output"
        )


def write_tables(root: str, manifest: pa.Table, splits: pa.Table, settings: PrepareSettings) -> dict[str, Any]:
    """Write manifest.parquet, splits.parquet and dataset.json, before any shard; return the content of the last.

    Raises:
        UserError: as `check_output`.
    """
    description = describe(manifest, splits, settings)
    check_output(root, description["manifest"], settings)
    storage.make_folder(storage.join(root, "shards"))
    _write(storage.join(root, "manifest.parquet"), manifest)
    _write(storage.join(root, "splits.parquet"), splits)
    text = json.dumps(description, indent=2, sort_keys=True, ensure_ascii=False)
    storage.publish(storage.join(root, "dataset.json"), text.encode())
    return description


def write_records(root: str) -> pa.Table:
    """Collect the records of all sidecars in records.parquet, sorted by video_id."""
    records = [{name: record[name] for name in RECORDS.names} for s in read_sidecars(root) for record in s["records"]]
    table = pa.Table.from_pylist(records, schema=RECORDS).sort_by("video_id")
    _write(storage.join(root, "records.parquet"), table)
    return table


def read_description(root: str) -> dict[str, Any]:
    """Return the content of dataset.json.

    Raises:
        UserError: there is none, it is damaged, or it has another format.
    """
    path = storage.join(root, "dataset.json")
    if not storage.exists(path):
        raise UserError(f"{root} is not a prepared dataset (it has no dataset.json): make one with `marey prepare`")
    try:
        description: dict[str, Any] = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    found = description.get("format")
    if found != FORMAT:
        older = isinstance(found, int) and found < FORMAT
        action = "prepare the videos again with `marey prepare`, to another folder" if older else "update marey"
        raise UserError(f"{path} has format {found}, and this marey reads format {FORMAT}: {action}")
    return description


def read_settings(description: dict[str, Any]) -> PrepareSettings:
    """Return the settings that a dataset was prepared with."""
    values = description["settings"]
    return PrepareSettings(**{**values, "tvl1": TVL1(**values["tvl1"])})


def read_table(root: str, name: str, columns: list[str] | None = None) -> pa.Table:
    """Read `manifest`, `splits` or `records`, all columns or some.

    Raises:
        BadTable: it is missing or damaged.
    """
    path = storage.join(root, f"{name}.parquet")
    again = "run the same `marey prepare` again"
    try:
        content = storage.read_bytes(path)
    except FileNotFoundError:
        raise BadTable(f"{path} is missing: {again}") from None
    try:
        return pq.read_table(pa.BufferReader(content), columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise BadTable(f"{path} is damaged ({str(error).splitlines()[0]}): {again}") from error


def _write(path: str, table: pa.Table) -> None:
    with storage.writing(path) as aside:
        pq.write_table(table, aside)


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    nested = settings.get("tvl1", {})
    return {k: v for k, v in settings.items() if k != "tvl1"} | {f"tvl1.{k}": v for k, v in nested.items()}
