"""Preparing the small squares of the workflow tests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.prepare import prepare
from tasks.data import PrepareSettings
from tasks.video import TVL1

SETTINGS = PrepareSettings(short_side=32, shard_videos=8, tvl1=TVL1(scales=2, warps=1, outer_iterations=2))

FEW = dataclasses.replace(SETTINGS, shard_videos=256)
"""All videos in one shard, as so few are by default."""


def shards(root: str | Path) -> dict[str, bytes]:
    """Bytes of all shards and, but for timings, of all sidecars."""
    found = {path.name: path.read_bytes() for path in (Path(root) / "shards").glob("*.tar")}
    for path in (Path(root) / "shards").glob("*.json"):
        sidecar = json.loads(path.read_bytes())
        for record in sidecar["records"]:
            del record["seconds"]
        found[path.name] = json.dumps(sidecar).encode()
    return found


def broken(root: Path, *names: str) -> str:
    """A source whose files are no videos."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in name else b"this is no video")
    return str(root)


def refusal(source: str, out: Path | str, **arguments) -> str:
    with pytest.raises(UserError) as caught:
        prepare(source, str(out), progress=False, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
