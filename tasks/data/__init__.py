"""Datasets: from a source of labelled videos to shards, and from shards to clips."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.clips import ClipSettings as ClipSettings
    from tasks.data.dataset import Dataset as Dataset
    from tasks.data.dataset import open_dataset as open_dataset
    from tasks.data.reader import Sample as Sample
    from tasks.data.sample import decode_sample as decode_sample
    from tasks.data.settings import PrepareSettings as PrepareSettings

_HOME = {
    "Dataset": "dataset",
    "PrepareSettings": "settings",
    "Sample": "reader",
    "decode_sample": "sample",
    "open_dataset": "dataset",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
