"""Datasets: from a source of labelled videos to shards, and from shards to frames and flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.lazy import importer

if TYPE_CHECKING:
    from tasks.data.dataset import Dataset as Dataset
    from tasks.data.dataset import open_dataset as open_dataset
    from tasks.data.reader import Sample as Sample
    from tasks.data.sample import decode_sample as decode_sample
    from tasks.data.samples import Samples as Samples
    from tasks.data.settings import PrepareSettings as PrepareSettings

_MODULES = {
    "Dataset": "dataset",
    "PrepareSettings": "settings",
    "Sample": "reader",
    "Samples": "samples",
    "decode_sample": "sample",
    "open_dataset": "dataset",
}
__getattr__ = importer(__name__, _MODULES)
