"""Preparation of real videos in the test's own process, without the workflow and Ray."""

from __future__ import annotations

from pathlib import Path

from tasks.data import layouts, manifest, shard, tables
from tasks.data.process import process_video
from tasks.data.settings import PrepareSettings
from tasks.video import DecoderProcess


def prepare_here(
    source: Path, out: Path, settings: PrepareSettings, layout: str = "folder", group_column: str | None = None
) -> str:
    table, splits = manifest.build(layouts.read(layout, str(source), group_column=group_column), settings)
    digest = tables.write_tables(str(out), table, splits, settings)["settings_digest"]
    with DecoderProcess() as decoder:
        for plan in shard.plan(table, settings):
            done = [process_video(row, settings, decoder) for row in plan.take(table)]
            shard.write_shard(str(out), plan, done, digest)
    tables.write_records(str(out))
    return str(out)
