from dataclasses import replace

import numpy as np
import pytest
from small_dataset import LONG

from tasks.clips import ClipSettings, View, views
from tasks.clips.augment import clip_shape, flow_shape
from tasks.clips.clips import clip_of, read_view, train_clip, view_clip
from tasks.clips.sampling import view_indices
from tasks.data import open_dataset

pytestmark = pytest.mark.quick

RGB = ClipSettings(segments=4, size=32)
FLOW = ClipSettings(stream="flow", segments=2, snippet=5, size=32, mean=(0.5,), std=(0.226,))
PAIRS = ClipSettings(segments=3, snippet=2, size=32, target="flow", mean=(0.0,), std=(1 / 255,))
"""Clips whose values are those of the frames, with the flow between the frames of each pair."""


@pytest.fixture(scope="module")
def dataset(small_root):
    return open_dataset(small_root)


def pixels(q):
    """Return the flow that a stored value stands for, at the bound of 20 pixels."""
    return np.asarray(q) * 40 / 255 - 20


@pytest.mark.parametrize("clip", [RGB, FLOW], ids=["rgb", "flow"])
def test_a_training_clip_depends_on_seed_epoch_and_sample_alone(dataset, clip):
    sample, other = dataset.samples("train")[:2]
    first = train_clip(dataset, sample, clip, epoch=3)
    assert first.shape == clip_shape(clip)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, train_clip(dataset, sample, clip, epoch=3))
    different = [train_clip(dataset, sample, clip, epoch) for epoch in (4, 5, 6)]
    different.append(train_clip(dataset, other, clip, 3))
    assert not all(np.array_equal(first, clip_) for clip_ in different)


def test_pieces_of_a_video_are_samples_of_their_own(dataset):
    pieces = [s for s in dataset.samples("train") if s.video_id == LONG]
    clips = [train_clip(dataset, piece, RGB, 0) for piece in pieces]
    greys = [clip[0].mean((1, 2)) * 0.229 * 255 + 0.485 * 255 - 1 for clip in clips]
    assert (np.round(greys[0]) < 7).all()
    assert (np.round(greys[1]) >= 7).all()
    assert (np.diff(greys) >= -0.5).all()  # in time order


@pytest.mark.parametrize("clip", [RGB, FLOW], ids=["rgb", "flow"])
@pytest.mark.parametrize("crops", [1, 3, 10])
def test_views_of_a_stored_video_and_of_one_in_memory_are_the_same(dataset, clip, crops):
    sample = dataset.samples("val")[0]
    video = dataset.rgb(sample, range(12)) if clip.stream == "rgb" else dataset.flow(sample, range(11))
    for view in views(2, crops):
        stored = view_clip(dataset, sample, clip, view)
        assert stored.shape == clip_shape(clip)
        np.testing.assert_array_equal(stored, clip_of(video, clip, view))


def test_a_view_shows_the_frames_of_its_clip(dataset):
    sample = dataset.samples("val")[0]
    for view in (View(), View(index=1, clip=1, clips=2)):
        clip = view_clip(dataset, sample, RGB, view)
        greys = clip[0].mean((1, 2)) * 0.229 * 255 + 0.485 * 255 - 1
        np.testing.assert_allclose(greys, view_indices(12, RGB, view.clip, view.clips), atol=1)


def test_drawn_clips_depend_on_seed_video_and_clip_alone(dataset):
    """As in training each segment of three frames gives one; crops of a clip show the same frames."""

    def starts(sample, view):
        return np.round(read_view(dataset, sample, RGB, view)[:, 0, 0, 0]).astype(int) - 1

    sample, *_ = dataset.samples("val")
    drawn = [starts(sample, view) for view in views(40, 3, seed=5)]
    for again, view in zip(drawn, views(40, 3, seed=5), strict=True):
        assert (again // 3 == np.arange(4)).all()
        assert np.array_equal(again, starts(sample, view))
        assert np.array_equal(again, drawn[3 * view.clip])
    assert {int(i) for clip in drawn for i in clip} == set(range(12))
    other = [starts(sample, view) for view in views(40, 3, seed=6)]
    assert not np.array_equal(drawn, other)
    samples = [s for s in dataset.samples("train") if s.frames == 12][:2]
    one, two = ([starts(sample, view) for view in views(40, 1, seed=5)] for sample in samples)
    assert not np.array_equal(one, two)


def test_one_clip_is_never_drawn(dataset):
    sample = dataset.samples("val")[0]
    for view, centre in zip(views(1, 3, seed=5), views(1, 3), strict=True):
        assert np.array_equal(view_clip(dataset, sample, RGB, view), view_clip(dataset, sample, RGB, centre))


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_the_flow_of_a_pair_is_that_after_its_first_frame(dataset, flip):
    """Flow pair i has x = i + 1 and y = 101 + i, frame i is grey i + 1; a flip negates x."""
    clip = replace(PAIRS, flip=flip)
    for sample in dataset.samples("train"):
        first = sample.piece_index * 7
        for epoch in range(5):
            flow = np.full(flow_shape(clip), np.nan, np.float32)
            frames = np.round(train_clip(dataset, sample, clip, epoch, flow=flow)[0].mean((1, 2)))
            assert (frames[1::2] == frames[::2] + 1).all()
            assert frames[1::2].max() <= first + sample.frames
            x = pixels(frames[::2]) * (-1 if flip else 1)
            np.testing.assert_allclose(flow[0], np.broadcast_to(x[:, None, None], flow[0].shape), atol=1e-4)
            y = pixels(frames[::2] + 100)
            np.testing.assert_allclose(flow[1], np.broadcast_to(y[:, None, None], flow[1].shape), atol=1e-4)


def test_a_clip_is_the_same_with_its_flow_and_without(dataset):
    sample = dataset.samples("train")[0]
    flow = np.empty(flow_shape(PAIRS), np.float32)
    with_flow = train_clip(dataset, sample, PAIRS, 2, flow=flow)
    np.testing.assert_array_equal(with_flow, train_clip(dataset, sample, replace(PAIRS, target="none"), 2))


class Coded:
    """A dataset whose frames and flow hold their own coordinates: red and x the column, green and y the row."""

    def __init__(self, dataset):
        self.settings = dataset.settings

    def rgb(self, sample, indices):
        return np.stack([np.dstack([*self.grids(), np.zeros((48, 64))]) for _ in indices]).astype(np.uint8)

    def flow(self, sample, indices):
        return np.stack([self.grids() for _ in indices]).astype(np.uint8)

    each_rgb, each_flow = rgb, flow

    @staticmethod
    def grids():
        row, column = np.mgrid[:48, :64]
        return 3 * column, 4 * row


def test_flow_is_cut_and_mirrored_as_its_clip_and_keeps_its_pixels(dataset):
    """Whatever the scale of the crop, each place holds the value of its place in the stored frame."""
    flips = set()
    for epoch in range(12):
        flow = np.empty(flow_shape(PAIRS), np.float32)
        clip = train_clip(Coded(dataset), dataset.samples("train")[0], PAIRS, epoch, flow=flow)
        mirrored = bool(clip[0, 0, 0, 0] > clip[0, 0, 0, -1])
        flips.add(mirrored)
        for pair in range(3):
            x = pixels(clip[0, 2 * pair])
            np.testing.assert_allclose(flow[0, pair], -x if mirrored else x, atol=1e-3)
            np.testing.assert_allclose(flow[1, pair], pixels(clip[1, 2 * pair]), atol=1e-3)
    assert flips == {False, True}


def test_where_a_short_video_repeats_its_last_frame_nothing_moves(dataset):
    """Dense pairs at a stride of 4: of 7 frames those at 0 and 4 are there, of 5 the one at 0."""
    clip = replace(PAIRS, sampling="dense", stride=4, segments=4, flip=0.0)
    for piece in (sample for sample in dataset.samples("train") if sample.video_id == LONG):
        flow = np.empty(flow_shape(clip), np.float32)
        frames = np.round(train_clip(dataset, piece, clip, 0, flow=flow)[0].mean((1, 2))) - 1 - 7 * piece.piece_index
        last = piece.frames - 1
        assert frames.tolist() == [0, 1, min(4, last), min(5, last), last, last, last, last]
        moving = [True, last > 4, False, False]
        assert [bool(pair.any()) for pair in flow.transpose(1, 0, 2, 3)] == moving
