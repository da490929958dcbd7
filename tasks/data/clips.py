"""From a sample to the tensor that a network sees: pure functions of (seed, epoch, video, view)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.data.augment import View, make_clip, train_crop, train_tone, view_crop
from tasks.data.sampling import train_indices, view_indices
from tasks.data.settings import ClipSettings
from tasks.seeds import generator

if TYPE_CHECKING:
    from tasks.data.dataset import Dataset, Sample


def num_items(sample: Sample, clip: ClipSettings) -> int:
    """Return how many frames or flow pairs of the clip's stream a sample has."""
    return sample.frames if clip.stream == "rgb" else sample.flows


def read_items(dataset: Dataset, sample: Sample, clip: ClipSettings, indices: np.ndarray) -> np.ndarray:
    """Return frames, uint8 [n, H, W, 3], or quantised flow, uint8 [n, 2, H, W]."""
    return dataset.rgb(sample, indices) if clip.stream == "rgb" else dataset.flow(sample, indices)


def train_clip(
    dataset: Dataset, sample: Sample, clip: ClipSettings, epoch: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the training clip of a sample in an epoch, float32 [C, T, H, W], written to `out` if given."""
    rng = generator(clip.seed, epoch, sample.video_id, sample.part_index)
    indices = train_indices(num_items(sample, clip), clip, rng)
    items = read_items(dataset, sample, clip, indices)
    box, flip = train_crop(*_frame_size(items, clip), clip, rng)
    return make_clip(items, box, flip, clip, out, train_tone(clip, rng))


def view_clip(dataset: Dataset, sample: Sample, clip: ClipSettings, view: View) -> np.ndarray:
    """Return one view of a sample, float32 [C, T, H, W]."""
    return crop_view(read_view(dataset, sample, clip, view), clip, view)


def read_view(dataset: Dataset, sample: Sample, clip: ClipSettings, view: View) -> np.ndarray:
    """Return a view's frames or flow uncut: they are the same for all its crops."""
    indices = view_indices(num_items(sample, clip), clip, view.clip, view.clips)
    return read_items(dataset, sample, clip, indices)


def crop_view(items: np.ndarray, clip: ClipSettings, view: View, out: np.ndarray | None = None) -> np.ndarray:
    """Return a view of the frames or flow that `read_view` gave, written to `out` if given."""
    return make_clip(items, *view_crop(*_frame_size(items, clip), view), clip, out)


def clip_of(video: np.ndarray, clip: ClipSettings, view: View) -> np.ndarray:
    """Return one view of a whole video in memory: uint8 frames [N, H, W, 3] or quantised flow [N, 2, H, W]."""
    return crop_view(video[view_indices(len(video), clip, view.clip, view.clips)], clip, view)


def _frame_size(items: np.ndarray, clip: ClipSettings) -> tuple[int, int]:
    """Return (width, height)."""
    height, width = items.shape[1:3] if clip.stream == "rgb" else items.shape[2:4]
    return width, height
