"""The files beside the shards: dataset.json and the tables manifest, splits and records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc

from tasks.data import storage
from tasks.data.manifest import MANIFEST, PARTS, SPLITS, Digest, classes_of, digest
from tasks.data.settings import PrepareSettings
from tasks.data.shard import num_shards, settings_digest
from tasks.data.sidecar import FORMAT, Record, read_sidecars
from tasks.data.table_file import LARGEST, BadContent, each_column, from_bytes, to_bytes
from tasks.errors import UserError
from tasks.remote import reason
from tasks.video.settings import TVL1
from tasks.words import counted

_RECORD_TYPES = {"video_id": pa.string(), "status": pa.string(), "kind": pa.string(), "message": pa.string()}
_RECORD_TYPES |= {"decoder": pa.string(), "frames": pa.int64(), "flows": pa.int64(), "seconds": pa.float64()}
_RECORD_TYPES |= {"shard": pa.int32(), "width": pa.int32(), "height": pa.int32(), "fps": pa.float64()}
RECORDS = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _RECORD_TYPES.items()])
_MOST = 1 << 48  # frames of a video, or any other number of a record
_SCHEMAS = {"manifest": MANIFEST, "splits": SPLITS, "records": RECORDS}
_FIELDS = {"format": int, "classes": list, "videos": int, "shards": int, "settings": dict}
_FIELDS |= dict.fromkeys(("manifest", "splits", "settings_digest", "digest"), str)


class BadTable(UserError):
    """dataset.json or a table of a dataset is missing or damaged."""

    def __init__(self, path: str, wrong: str | None = None) -> None:
        super().__init__(path, wrong)
        self.path, self.wrong = path, wrong

    def __str__(self) -> str:
        found = "missing" if self.wrong is None else f"damaged ({self.wrong})"
        return f"{self.path} is {found}: run the same `marey prepare` again"


def describe(manifest: pa.Table, splits: pa.Table, settings: PrepareSettings) -> dict[str, Any]:
    """Return the content of dataset.json; `digest` covers everything: videos, labels, splits and settings."""
    digests = {"manifest": digest(manifest), "splits": digest(splits), "settings_digest": settings_digest(settings)}
    return {
        "format": FORMAT,
        "classes": classes_of(manifest),
        "videos": manifest.num_rows,
        "shards": num_shards(manifest.num_rows, settings),
        "settings": asdict(settings),
        **digests,
        "digest": _digest(digests),
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
    try:
        held = read_description(root)
    except BadTable:
        if _has_manifest(root, manifest_digest):  # dataset.json is written anew; shards know their settings
            return
        raise
    for name, value in _flat(asdict(settings)).items():
        before = _flat(held["settings"]).get(name)
        if before != value:
            raise UserError(
                f"{root} was prepared with {name}={before!r}, not {value!r}: set it back, or choose another output"
            )
    if held["manifest"] != manifest_digest:
        raise UserError(
            f"{root} holds another dataset ({counted(held['videos'], 'video')}; paths, labels, groups or ranges "
            "differ): choose another output"
        )


def _has_manifest(root: str, manifest_digest: str) -> bool:
    try:
        return digest(read_table(root, "manifest")) == manifest_digest
    except BadTable:
        return False


def write_tables(root: str, manifest: pa.Table, splits: pa.Table, settings: PrepareSettings) -> dict[str, Any]:
    """Write dataset.json, manifest.parquet and splits.parquet, before any shard; return the content of the first.

    That comes first, as it marks the folder as a dataset for the next call, whenever this one ends.

    Raises:
        UserError: as `check_output`.
    """
    description = describe(manifest, splits, settings)
    check_output(root, description["manifest"], settings)
    storage.make_folder(root)
    storage.publish(storage.join(root, "dataset.json"), description_bytes(description))
    storage.make_folder(storage.join(root, "shards"))
    storage.publish(table_path(root, "manifest"), to_bytes(manifest))
    storage.publish(table_path(root, "splits"), to_bytes(splits))
    return description


def description_bytes(description: dict[str, Any]) -> bytes:
    """Return dataset.json."""
    return json.dumps(description, indent=2, sort_keys=True, ensure_ascii=False).encode()


def write_records(root: str) -> pa.Table:
    """Collect the records of all sidecars in records.parquet, sorted by video_id.

    Raises:
        UserError: a sidecar is damaged.
    """
    shards = range(read_description(root)["shards"])
    table = records_of(record for sidecar in read_sidecars(root, shards=shards) for record in sidecar.records)
    storage.publish(table_path(root, "records"), to_bytes(table))
    return table


def records_of(records: Iterable[Record]) -> pa.Table:
    """Return records as they stand in records.parquet."""
    rows = [{name: getattr(record, name) for name in RECORDS.names} for record in records]
    return pa.Table.from_pylist(rows, schema=RECORDS).sort_by("video_id")


def read_description(root: str) -> dict[str, Any]:
    """Return the content of dataset.json, of which every field fits the others.

    Raises:
        UserError: there is none, or it has another format.
        BadTable: it is damaged.
    """
    path = storage.join(root, "dataset.json")
    try:
        description = json.loads(storage.read_small(path))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{root} is not a prepared dataset (it has no dataset.json): make one with `marey prepare`"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise BadTable(path, str(error)) from error
    if not isinstance(description, dict) or type(description.get("format")) is not int:
        raise BadTable(path, "it has no format")
    found = description["format"]
    if found != FORMAT:
        action = (
            "prepare the videos again with `marey prepare`, to another folder" if found < FORMAT else "update marey"
        )
        raise UserError(f"{path} has format {found}, and this marey reads format {FORMAT}: {action}")
    wrong = _wrong_description(description)
    if wrong:
        raise BadTable(path, wrong)
    return description


def read_settings(description: dict[str, Any]) -> PrepareSettings:
    """Return the settings that a dataset was prepared with."""
    values = description["settings"]
    return PrepareSettings(**{**values, "tvl1": TVL1(**values["tvl1"])})


def read_tables(
    root: str, description: dict[str, Any], columns: Sequence[str] = MANIFEST.names
) -> tuple[pa.Table, pa.Table]:
    """Read manifest and splits, which must be those that dataset.json describes; of the manifest, return `columns`.

    Raises:
        BadTable: one is missing, damaged, or was changed since.
    """
    manifest = _read_described(root, "manifest", description, {*columns, "video_id", "label", "label_id"})
    _refuse_manifest(root, description, manifest)
    manifest = manifest.select(columns)  # the others leave memory before the splits are read
    splits = _read_described(root, "splits", description, SPLITS.names)
    _refuse_splits(root, manifest, splits)
    return manifest, splits


def _read_described(root: str, name: str, description: dict[str, Any], columns: Container[str]) -> pa.Table:
    """Compare all columns of a table with dataset.json, one after the other, and return some of them."""
    path, state, kept = table_path(root, name), Digest(), {}
    try:
        for column, values in each_column(table_bytes(root, name), _SCHEMAS[name]):
            state.add(column, values)
            if column in columns:
                kept[column] = values
            del values
    except BadContent as error:
        raise BadTable(path, str(error)) from error
    if state.hexdigest() != description[name]:
        raise BadTable(path, "its content is not what dataset.json describes")
    return pa.table(kept, pa.schema([field for field in _SCHEMAS[name] if field.name in kept]))


def refuse_contradictions(root: str, description: dict[str, Any], manifest: pa.Table, splits: pa.Table) -> None:
    """Raise BadTable where dataset.json, manifest and splits, each sound by itself, do not fit one another."""
    _refuse_manifest(root, description, manifest)
    _refuse_splits(root, manifest, splits)


def _refuse_manifest(root: str, description: dict[str, Any], manifest: pa.Table) -> None:
    if description["videos"] != manifest.num_rows or description["classes"] != classes_of(manifest):
        raise BadTable(storage.join(root, "dataset.json"), "it does not describe manifest.parquet")
    labels = pc.index_in(manifest["label"], pa.array(description["classes"]))
    if not labels.equals(manifest["label_id"]) or not _distinct(manifest["video_id"]):
        raise BadTable(table_path(root, "manifest"), "its columns contradict each other")


def _refuse_splits(root: str, manifest: pa.Table, splits: pa.Table) -> None:
    if not splits.num_rows or not set(splits["part"].unique().to_pylist()) <= set(PARTS):
        raise BadTable(table_path(root, "splits"), "it has other parts than train, val and test")
    listed, known = splits["video_id"], manifest["video_id"]
    if not listed.equals(known) and not pc.all(pc.is_in(listed, known)).as_py():
        raise BadTable(table_path(root, "splits"), "it has videos that manifest.parquet lacks")


def _distinct(column: pa.ChunkedArray) -> bool:
    """Return whether no value of a column comes twice; a sorted one, as marey writes it, needs no table of them."""
    ascends = pc.all(pc.less(column.slice(0, len(column) - 1), column.slice(1))).as_py()
    return bool(ascends) or pc.count_distinct(column).as_py() == len(column)


def read_table(root: str, name: str, columns: list[str] | None = None) -> pa.Table:
    """Read `manifest`, `splits` or `records`, all columns or some.

    Raises:
        BadTable: it is missing or damaged.
    """
    path = table_path(root, name)
    try:
        table = from_bytes(table_bytes(root, name), _SCHEMAS[name], columns)
    except BadContent as error:
        raise BadTable(path, str(error)) from error
    wrong = _wrong_records(table) if name == "records" else ""
    if wrong:
        raise BadTable(path, wrong)
    return table


def table_bytes(root: str, name: str) -> bytes:
    """Return the file of a table; BadTable if it is missing or cannot be read."""
    path = table_path(root, name)
    try:
        return storage.read_small(path, LARGEST)
    except FileNotFoundError:
        raise BadTable(path) from None
    except OSError as error:
        raise BadTable(path, reason(error)) from error
    except ValueError as error:  # too large
        raise BadTable(path, str(error)) from error


def table_path(root: str, name: str) -> str:
    """Return the path of `manifest`, `splits` or `records`."""
    return storage.join(root, f"{name}.parquet")


def _wrong_records(table: pa.Table) -> str:
    """Return which column of records.parquet, as far as it was read, cannot be; nothing if all can."""
    for name in table.column_names:
        if not pa.types.is_string(table[name].type):
            values = table[name].to_numpy()
            if not ((values >= 0) & (values <= _MOST)).all():  # not-a-number is neither
                return f"its column {name} has impossible numbers"
    if "status" in table.column_names:
        ok = pc.equal(table["status"], "ok").to_numpy()
        for name in {"frames", "width", "height"}.intersection(table.column_names):
            if (table[name].to_numpy()[ok] == 0).any():
                return f"its columns status and {name} contradict each other"
    return ""


def _wrong_description(description: dict[str, Any]) -> str:
    """Return which field of dataset.json cannot be, nothing if all fit."""
    missing = sorted(_FIELDS.keys() - description.keys())
    if missing:
        return f"its field {missing[0]} is missing"
    for name, kind in _FIELDS.items():
        if type(description[name]) is not kind:
            return f"its field {name} is not of type {kind.__name__}"
    if not _fits(description["settings"], PrepareSettings):
        return "its settings are not such as marey writes"
    try:
        settings = read_settings(description)
    except ValueError as error:
        return str(error)
    if description["settings_digest"] != settings_digest(settings) or description["digest"] != _digest(description):
        return "its settings and digests do not match each other"
    classes, videos = description["classes"], description["videos"]
    if not classes or set(map(type, classes)) != {str} or classes != sorted(set(classes)):
        return "its classes are not a sorted list of names"
    if videos < 1 or description["shards"] != num_shards(videos, settings):
        return f"it states {counted(videos, 'video')} in {counted(description['shards'], 'shard')}"
    return ""


def _fits(values: Any, settings: Any) -> bool:
    """Return whether a JSON object has just the fields of a dataclass, each of its type."""
    hints = get_type_hints(settings)
    if not isinstance(values, dict) or values.keys() != hints.keys():
        return False
    for name, hint in hints.items():
        value = values[name]
        if is_dataclass(hint):
            fits = _fits(value, hint)
        elif get_origin(hint) is Literal:
            fits = value in get_args(hint)
        else:
            fits = type(value) is hint or (hint is float and type(value) is int)
        if not fits:
            return False
    return True


def _digest(digests: dict[str, Any]) -> str:
    taken = {name: digests[name] for name in ("manifest", "splits", "settings_digest")}
    return hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    nested = settings.get("tvl1", {})
    return {k: v for k, v in settings.items() if k != "tvl1"} | {f"tvl1.{k}": v for k, v in nested.items()}
