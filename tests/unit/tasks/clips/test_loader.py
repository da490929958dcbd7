import threading

import numpy as np
import pytest
import torch
from small_dataset import LONG, write_dataset

from tasks.clips import ClipLoader, ClipSettings, ViewLoader, views
from tasks.clips.clips import train_clip, view_clip
from tasks.clips.loader import BATCHES_AHEAD, resized
from tasks.data import open_dataset
from tasks.errors import UserError
from tasks.learn.settings import TrainSettings
from tasks.learn.steps import Step

pytestmark = pytest.mark.quick

CLIP = ClipSettings(segments=2, size=32)
FLOW = ClipSettings(stream="flow", segments=2, snippet=5, size=32, mean=(0.5,), std=(0.226,))


@pytest.fixture(scope="module")
def dataset(small_root):
    return open_dataset(small_root)


def loader_of(dataset, clip, batch_size, threads=2, **settings):
    return ClipLoader(dataset, "train", clip, TrainSettings(batch_size=batch_size, loader_threads=threads, **settings))


def loaders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("marey-loader")]


@pytest.mark.parametrize("clip", [CLIP, FLOW], ids=["rgb", "flow"])
def test_an_epoch_holds_every_sample_once_on_any_number_of_workers(dataset, clip):
    by_key = {(s.video_id, s.frames): s for s in dataset.samples("train")}
    for world in (1, 2, 3):
        loader = loader_of(dataset, clip, 3, threads=3)
        ranks = [list(loader.batches(0, rank, world)) for rank in range(world)]
        assert {len(batches) for batches in ranks} == {loader.steps(0)} == {3}  # 7 videos, 8 samples
        real = [
            (video_id, array, label)
            for batches in ranks
            for batch in batches
            for video_id, array, label, weight in zip(
                batch.video_ids, batch.clip, batch.labels.tolist(), batch.sample_weights, strict=True
            )
            if weight
        ]
        assert sorted(v for v, _, _ in real) == sorted(s.video_id for s in dataset.samples("train"))
        for video_id, array, label in real:
            matching = [s for s in by_key.values() if s.video_id == video_id]
            assert label == matching[0].label_id
            assert any(np.array_equal(array, train_clip(dataset, s, clip, 0)) for s in matching)
        for step in zip(*ranks, strict=True):
            assert {batch.count for batch in step} == {int(sum(batch.sample_weights.sum() for batch in step))}


def test_a_rank_without_samples_gets_a_filler(dataset):
    loader = loader_of(dataset, CLIP, 7)  # 8 samples: the second step has one
    first, second = ([*loader.batches(0, rank, 2)][1] for rank in (0, 1))
    assert (first.sample_weights.tolist(), second.sample_weights.tolist()) == ([1.0], [0.0])
    assert first.count == second.count == 1
    assert torch.equal(first.clip, second.clip)


def test_batches_are_the_same_whatever_the_threads_and_wherever_they_start(dataset):
    one, four = (list(loader_of(dataset, CLIP, 2, threads=n).batches(5, 0, 1)) for n in (1, 4))
    resumed = list(loader_of(dataset, CLIP, 2, threads=4).batches(5, 0, 1, start_step=2))
    for ours, theirs in zip(one + one[2:], four + resumed, strict=True):
        assert ours.video_ids == theirs.video_ids
        assert torch.equal(ours.clip, theirs.clip)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_view_is_scored_once_and_a_video_by_one_rank(dataset, world):
    protocol = views(2, 3)
    ranks = [list(ViewLoader(dataset, "train", CLIP, protocol, 4).batches(rank, world)) for rank in range(world)]
    seen = [
        (video_id, view)
        for batches in ranks
        for b in batches
        for video_id, view in zip(b.video_ids, b.views.tolist(), strict=True)
    ]
    expected = [(s.video_id, view.index) for s in dataset.samples("train") for view in protocol]
    assert sorted(seen) == sorted(expected)
    assert seen.count((LONG, 0)) == 2  # its two pieces
    owners = [{v for b in batches for v in b.video_ids} for batches in ranks]
    assert sum(len(owner) for owner in owners) == 7
    assert all(bool(b.sample_weights.all()) and b.count == len(b.video_ids) for batches in ranks for b in batches)


def test_views_are_those_of_view_clip(dataset):
    protocol = views(2, 10)
    (sample, *_) = dataset.samples("val")
    batch = next(iter(ViewLoader(dataset, "val", FLOW, protocol, 20, threads=4).batches(0, 1)))
    assert batch.video_ids == [sample.video_id] * 20
    for array, view in zip(batch.clip, protocol, strict=True):
        np.testing.assert_array_equal(array, view_clip(dataset, sample, FLOW, view))


def test_no_thread_is_left_behind(dataset):
    before = len(loaders())
    batches = loader_of(dataset, CLIP, 2, threads=3).batches(0, 0, 1)
    next(batches)
    assert len(loaders()) > before
    batches.close()
    assert len(loaders()) == before
    list(loader_of(dataset, CLIP, 2, threads=3).batches(0, 0, 1))
    assert len(loaders()) == before


class Counting:
    """A dataset that counts what is read, and fails at one video."""

    def __init__(self, dataset, bad=None):
        self.dataset, self.bad, self.reads = dataset, bad, 0

    def __getattr__(self, name):
        return getattr(self.dataset, name)

    def rgb(self, sample, indices):
        self.reads += 1
        if sample.video_id == self.bad:
            raise ZeroDivisionError("a bug")
        return self.dataset.rgb(sample, indices)


def test_reading_ahead_is_bounded(dataset):
    counting = Counting(dataset)
    batches = loader_of(counting, CLIP, 1, threads=2).batches(0, 0, 1)
    next(batches)
    batches.close()
    assert counting.reads <= BATCHES_AHEAD + 1


def test_crops_of_a_clip_are_decoded_once(dataset):
    counting = Counting(dataset)
    samples = dataset.samples("val")
    list(ViewLoader(counting, "val", CLIP, views(2, 10), 8, threads=4).batches(0, 1))
    assert counting.reads == 2 * len(samples)


def test_an_exception_in_a_thread_names_the_video(dataset):
    bad = dataset.samples("train")[3].video_id
    before = len(loaders())
    with pytest.raises(RuntimeError, match=f"video {bad} .*a bug"):
        list(loader_of(Counting(dataset, bad), CLIP, 2, threads=3).batches(0, 0, 1))
    assert len(loaders()) == before


def test_the_flow_of_a_clip_comes_along_with_its_batch(dataset):
    """Each row equals train_clip's flow, on every rank and in fillers; views, and clips without a target, have none."""
    clip = ClipSettings(segments=3, snippet=2, size=32, target="flow")
    loader = loader_of(dataset, clip, 7, threads=3)
    by_video = {sample.video_id: sample for sample in dataset.samples("train") if sample.video_id != LONG}
    for rank in (0, 1):
        for batch in loader.batches(1, rank, 2):
            assert batch.flow.shape == (len(batch.labels), 2, 3, 32, 32)
            assert batch.to(torch.device("cpu")).flow is batch.flow
            for video_id, array, flow in zip(batch.video_ids, batch.clip, batch.flow, strict=True):
                if video_id in by_video:
                    expected = np.empty((2, 3, 32, 32), np.float32)
                    same = train_clip(dataset, by_video[video_id], clip, 1, flow=expected)
                    np.testing.assert_array_equal(array, same)
                    np.testing.assert_array_equal(flow, expected)
    assert next(loader_of(dataset, CLIP, 4).batches(0, 0, 1)).flow is None
    assert next(ViewLoader(dataset, "val", clip, views(1, 3), 4).batches(0, 1)).flow is None


def test_mistakes_are_sentences(small_root, tmp_path):
    fold = open_dataset(small_root, fold="group=P1")
    with pytest.raises(UserError, match=r"no videos in part 'val' of group=P1 \(train 8, val 0, test 3\)"):
        ViewLoader(fold, "val", CLIP, views(1, 1), 4)
    without = open_dataset(write_dataset(tmp_path / "data", flow=False))
    with pytest.raises(UserError, match="was prepared without optical flow"):
        loader_of(without, FLOW, 4)
    pairs = ClipSettings(segments=3, snippet=2, size=32, target="flow")
    with pytest.raises(UserError, match="without optical flow, which these clips need"):
        loader_of(without, pairs, 4)
    assert len(list(ViewLoader(without, "val", pairs, views(1, 1), 4).batches(0, 1))) == 1


@pytest.mark.parametrize("world", [1, 2])
def test_multigrid_cuts_coarser_clips_of_more_videos(dataset, world):
    clip = ClipSettings(segments=4, size=64)
    loader = loader_of(dataset, clip, 2, multigrid="both", epochs=4, schedule="constant")
    ranks = [list(loader.batches(0, rank, world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {loader.steps(0)} == {1}
    assert [batch.clip.shape[1:] for (batch,) in ranks] == [(3, 1, 23, 23)] * world
    assert {batch.lr for (batch,) in ranks} == {8.0}
    last = list(loader.batches(3, 0, 1))
    assert [tuple(batch.clip.shape) for batch in last] == [(8, 3, 4, 32, 32)]
    assert [batch.lr for batch in last] == [1.0]


def test_a_dense_clip_of_fewer_frames_covers_the_same_time():
    dense = ClipSettings(sampling="dense", segments=16, stride=5, size=224)
    coarse = resized(dense, Step(8, frames=0.25, size=0.5))
    assert (coarse.segments, coarse.stride, coarse.size) == (4, 20, 112)
    assert resized(dense, Step(8)) == dense
    assert resized(ClipSettings(segments=3), Step(8, frames=0.25)).segments == 1
