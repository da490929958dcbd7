"""Making the tensor that a network sees from a sample, as a pure function of (seed, epoch, video, view)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import lt
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tasks.clips.augment import (
    Box,
    RawClip,
    View,
    cut,
    flow_shape,
    make_clip,
    make_raw_clip,
    train_crop,
    train_tone,
    view_crop,
)
from tasks.clips.changes import train_changes
from tasks.clips.sampling import train_indices, view_indices
from tasks.clips.settings import ClipSettings
from tasks.seeds import generator

if TYPE_CHECKING:
    from tasks.data.arrow_file import Planes
    from tasks.data.reader import Sample
    from tasks.data.settings import PrepareSettings


class Reads(Protocol):
    """What is read of a dataset."""

    @property
    def settings(self) -> PrepareSettings:
        """How it was prepared."""

    def rgb(self, sample: Sample, indices: np.ndarray) -> np.ndarray:
        """Return frames, uint8 [n, H, W, 3]."""

    def flow(self, sample: Sample, indices: np.ndarray) -> np.ndarray:
        """Return quantised flow, uint8 [n, 2, H, W]."""

    def each_rgb(self, sample: Sample, indices: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield frames of ascending indices, uint8 [H, W, 3], as they are decoded."""

    def each_flow(self, sample: Sample, indices: Iterable[int]) -> Iterator[Planes]:
        """Yield quantised flow of ascending indices, uint8 [H, W] twice, as it is decoded."""


def num_items(sample: Sample, clip: ClipSettings) -> int:
    """Return how many frames or flow pairs of the clip's stream a sample has."""
    return sample.frames if clip.stream == "rgb" else sample.flows


def read_items(dataset: Reads, sample: Sample, clip: ClipSettings, indices: np.ndarray) -> np.ndarray:
    """Return frames, uint8 [n, H, W, 3], or quantised flow, uint8 [n, 2, H, W]."""
    return dataset.rgb(sample, indices) if clip.stream == "rgb" else dataset.flow(sample, indices)


def _each_item(dataset: Reads, sample: Sample, clip: ClipSettings, indices: np.ndarray) -> Iterable[Any]:
    """Return what `read_items` does one by one, so that each is cut while the processor still holds it."""
    wanted: list[int] = indices.tolist()
    if not all(map(lt, wanted, wanted[1:])):  # a short video repeats some
        return read_items(dataset, sample, clip, indices)
    return dataset.each_rgb(sample, wanted) if clip.stream == "rgb" else dataset.each_flow(sample, wanted)


def train_clip(
    dataset: Reads, sample: Sample, clip: ClipSettings, epoch: int, flow: np.ndarray | None = None
) -> np.ndarray:
    """Return the training clip of a sample in an epoch, float32 [C, T, H, W]; see `raw_train_clip`."""
    return raw_train_clip(dataset, sample, clip, epoch, flow=flow).normalised()


def raw_train_clip(
    dataset: Reads,
    sample: Sample,
    clip: ClipSettings,
    epoch: int,
    out: np.ndarray | None = None,
    flow: np.ndarray | None = None,
    copy: int = 0,
) -> RawClip:
    """Return the training clip of a sample in an epoch.

    Args:
        dataset: the dataset of the sample.
        sample: a video, or a piece of one.
        clip: how to cut the clip.
        epoch: counted from 0.
        out: where to write its values, if given.
        flow: where to write the flow of `target=flow`, if given: float32 `flow_shape(clip)`.
        copy: how many clips of the sample the epoch has already.
    """
    rng = generator(clip.seed, epoch, sample.video_id, sample.piece_index, *([copy] if copy else []))
    indices = train_indices(num_items(sample, clip), clip, rng)
    items = _each_item(dataset, sample, clip, indices)
    box, flip = train_crop(sample.width, sample.height, clip, rng)
    if flow is not None:
        flow[:] = _pair_flow(dataset, sample, clip, indices, box, flip)
    tone = train_tone(clip, rng)
    if changes := train_changes(clip, rng):
        items = cut(items, box, flip, clip.size)
        for change in changes:
            items = change(items)
        box, flip = Box(0, 0, clip.size, clip.size), False
    return make_raw_clip(items, box, flip, clip, tone, out)


def _pair_flow(
    dataset: Reads, sample: Sample, clip: ClipSettings, indices: np.ndarray, box: Box, flip: bool
) -> np.ndarray:
    """Return the flow between the frames of each pair, float32 [2, K, size, size], x before y.

    It is cut and mirrored like the clip (mirroring negates x), and stays in pixels of the stored frames: it is not
    scaled with the crop.
    """
    first, second = indices.reshape(-1, 2).T
    moving = first < second  # a short video repeats its last frame: nothing moves there, and no flow is stored
    flow = np.zeros(flow_shape(clip), np.float32)
    if moving.any():
        std = 0.5 / dataset.settings.flow_bound  # a stored q is q * 2 * bound / 255 - bound pixels
        pixels = replace(clip, stream="flow", segments=int(moving.sum()), snippet=1, mean=(0.5,), std=(std,))
        flow[:, moving] = make_clip(dataset.flow(sample, first[moving]), box, flip, pixels)
    return flow


def view_clip(dataset: Reads, sample: Sample, clip: ClipSettings, view: View) -> np.ndarray:
    """Return one view of a sample, float32 [C, T, H, W]."""
    return crop_view(read_view(dataset, sample, clip, view), clip, view).normalised()


def read_view(dataset: Reads, sample: Sample, clip: ClipSettings, view: View) -> np.ndarray:
    """Return the uncut frames or flow of a view, which are the same for all its crops."""
    number = num_items(sample, clip)
    if view.seed is None:
        indices = view_indices(number, clip, view.clip, view.clips)
    else:
        rng = generator(view.seed, "view", sample.video_id, sample.piece_index, view.clip)
        indices = train_indices(number, clip, rng)
    return read_items(dataset, sample, clip, indices)


def crop_view(items: np.ndarray, clip: ClipSettings, view: View, out: np.ndarray | None = None) -> RawClip:
    """Return a view of the frames or flow from `read_view`, its values written to `out` if given."""
    return make_raw_clip(items, *view_crop(*_frame_size(items, clip), view), clip, out=out)


def clip_of(video: np.ndarray, clip: ClipSettings, view: View) -> np.ndarray:
    """Return one view, float32 [C, T, H, W], of a whole video: uint8 frames [N, H, W, 3] or flow [N, 2, H, W].

    Clips are evenly spread, as a video in memory has no id to seed random ones.
    """
    return crop_view(video[view_indices(len(video), clip, view.clip, view.clips)], clip, view).normalised()


def _frame_size(items: np.ndarray, clip: ClipSettings) -> tuple[int, int]:
    """Return (width, height)."""
    height, width = items.shape[1:3] if clip.stream == "rgb" else items.shape[2:4]
    return width, height
