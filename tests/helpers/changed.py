"""Changes to prepared datasets that their checksums agree with, as someone makes them who means to."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tasks.data import storage
from tasks.data.sealed import seal, unseal
from tasks.data.table_file import to_bytes
from tasks.data.tables import describe, description_bytes, read_description, read_settings, read_table, table_path


def change_sidecar(path: Path, **fields) -> None:
    """Replace fields of a sidecar, or of another sealed file."""
    path.write_bytes(seal({**unseal(path.read_bytes()), **fields}))


def change_tables(root: str | Path, manifest: pa.Table | None = None, splits: pa.Table | None = None) -> None:
    """Replace manifest or splits, and describe them anew."""
    root = str(root)
    settings = read_settings(read_description(root))
    manifest = read_table(root, "manifest") if manifest is None else manifest
    splits = read_table(root, "splits") if splits is None else splits
    storage.publish(table_path(root, "manifest"), to_bytes(manifest))
    storage.publish(table_path(root, "splits"), to_bytes(splits))
    description = description_bytes(describe(manifest, splits, settings))
    storage.publish(storage.join(root, "dataset.json"), description)
