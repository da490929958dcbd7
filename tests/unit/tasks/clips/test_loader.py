import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_dataset import LONG, write_dataset

from tasks.clips import ClipLoader, ClipSettings, ViewLoader, views
from tasks.clips.clips import train_clip, view_clip
from tasks.clips.loader import STEPS_AHEAD, resized
from tasks.data import open_dataset
from tasks.errors import UserError
from tasks.learn.settings import TrainSettings
from tasks.learn.steps import Step

pytestmark = pytest.mark.quick

CPU = torch.device("cpu")
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
        assert {len(portions) for portions in ranks} == {loader.steps(0)} == {3}  # 7 videos, 8 samples
        shares = [share.to(CPU) for portions in ranks for portion in portions for share in portion.shares]
        real = [row for share in shares for row in zip(share.video_ids, share.clip, share.labels.tolist(), strict=True)]
        assert sorted(v for v, _, _ in real) == sorted(s.video_id for s in dataset.samples("train"))
        for video_id, array, label in real:
            matching = [s for s in by_key.values() if s.video_id == video_id]
            assert label == matching[0].label_id
            assert any(np.array_equal(array, train_clip(dataset, s, clip, 0)) for s in matching)
        for step in zip(*ranks, strict=True):
            counts = [len(share.labels) for portion in step for share in portion.shares]
            assert {portion.count for portion in step} == {sum(counts)}
            fractions = [share.fraction for portion in step for share in portion.shares]
            assert fractions == [count / sum(counts) for count in counts]
            assert [share.number for portion in step for share in portion.shares] == list(range(step[0].of))


@pytest.mark.parametrize("world", [1, 3])
def test_a_balanced_epoch_takes_a_small_class_again_in_another_clip(dataset, world):
    """jump has 3 samples, run 5; they are 4 of each."""
    loader = loader_of(dataset, CLIP, 4, balanced_sampling=True, micro_batches=2)
    assert loader.label_counts().tolist() == [3, 5]
    taken = []
    for rank in range(world):
        for portion in loader.batches(1, rank, world):
            for share in portion.shares:
                taken += zip(share.video_ids, share.labels.tolist(), map(torch.Tensor.sum, share.clip), strict=True)
    assert sorted(label for _, label, _ in taken) == [0] * 4 + [1] * 4
    jumps = [(video_id, float(total)) for video_id, label, total in taken if label == 0]
    assert len({video_id for video_id, _ in jumps}) == 3
    assert len(set(jumps)) == 4
    assert [portion.count for portion in loader.batches(1, 0, 1)] == [4, 4]


def test_a_last_step_of_a_single_clip_joins_the_one_before(dataset):
    loader = loader_of(dataset, CLIP, 7)  # 8 samples
    (portion,) = loader.batches(0, 0, 1)
    assert portion.count == 8
    four = ClipLoader(dataset, "train", CLIP, TrainSettings(batch_size=5), smallest=4)
    assert [portion.count for portion in four.batches(0, 0, 1)] == [8]


@pytest.mark.parametrize("world", [2, 3])
def test_shares_have_the_same_clips_whoever_reads_them(dataset, world):
    """A step of 5 clips has two shares, so that the first of three workers has none."""
    loader = loader_of(dataset, CLIP, 5, micro_batches=3)
    alone = list(loader.batches(2, 0, 1))
    ranks = [list(loader.batches(2, rank, world)) for rank in range(world)]
    assert [portion.of for portion in alone] == [2, 1]
    for whole, portions in zip(alone, zip(*ranks, strict=True), strict=True):
        dealt = [share for portion in portions for share in portion.shares]
        assert [share.video_ids for share in dealt] == [share.video_ids for share in whole.shares]
        assert all(torch.equal(a.clip, b.clip) for a, b in zip(dealt, whole.shares, strict=True))
        assert {portion.of for portion in portions} == {whole.of}


def test_halves_are_cut_by_position_in_the_step(dataset):
    loader = ClipLoader(dataset, "train", CLIP, TrainSettings(batch_size=8, micro_batches=2), smallest=4)
    (portion,) = loader.batches(0, 0, 1)
    order = [None] * 8
    for share in portion.shares:
        order[share.number :: 2] = [(name, clip) for name, clip in zip(share.video_ids, share.clip, strict=True)]
    first, rest = portion.halves()
    for half, expected in ((first, order[:4]), (rest, order[4:])):
        assert half.count == 4
        for share in half.shares:
            assert share.fraction == 0.5
            rows = list(zip(share.video_ids, share.clip, strict=True))
            wanted = expected[share.number :: 2]
            assert [name for name, _ in rows] == [name for name, _ in wanted]
            assert all(torch.equal(ours, theirs) for (_, ours), (_, theirs) in zip(rows, wanted, strict=True))


def test_batches_are_the_same_whatever_the_threads_and_wherever_they_start(dataset):
    one, four = (list(loader_of(dataset, CLIP, 2, threads=n).batches(5, 0, 1)) for n in (1, 4))
    resumed = list(loader_of(dataset, CLIP, 2, threads=4).batches(5, 0, 1, start_step=2))
    for ours, theirs in zip(one + one[2:], four + resumed, strict=True):
        assert ours.shares[0].video_ids == theirs.shares[0].video_ids
        assert torch.equal(ours.shares[0].clip, theirs.shares[0].clip)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_view_is_scored_once_in_batches_that_the_workers_do_not_choose(dataset, world):
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
    alone = list(ViewLoader(dataset, "train", CLIP, protocol, 4).batches(0, 1))
    dealt = [batch for batches in ranks for batch in batches]
    assert [len(batch.labels) for batch in dealt] == [4] * 12
    for ours, theirs in zip(dealt, alone, strict=True):
        assert (ours.video_ids, ours.views.tolist()) == (theirs.video_ids, theirs.views.tolist())
        assert torch.equal(ours.clip, theirs.clip)


def test_views_are_those_of_view_clip(dataset):
    protocol = views(2, 10)
    (sample, *_) = dataset.samples("val")
    batch = next(iter(ViewLoader(dataset, "val", FLOW, protocol, 20, threads=4).batches(0, 1)))
    assert batch.video_ids == [sample.video_id] * 20
    for array, view in zip(batch.to(CPU).clip, protocol, strict=True):
        np.testing.assert_array_equal(array, view_clip(dataset, sample, FLOW, view))


@pytest.mark.parametrize("clip", [CLIP, replace(CLIP, color=0.4), FLOW], ids=["rgb", "toned", "flow"])
def test_clips_travel_as_bytes_and_become_the_same_floats_anywhere(dataset, clip):
    """Normalised here as numpy does, to the bit, and rows of a batch keep their own numbers."""
    (portion,) = loader_of(dataset, clip, 8, micro_batches=2).batches(0, 0, 1)
    norms = []
    for share in portion.shares:
        assert share.clip.dtype == torch.uint8
        ready = share.to(CPU)
        assert (ready.clip.dtype, ready.norm, ready.clip.is_contiguous()) == (torch.float32, None, True)
        scale, offset = share.norm.numpy().transpose(1, 0, 2)[..., None, None, None]
        np.testing.assert_array_equal(ready.clip, share.clip.numpy() * scale + offset)
        assert min(share.decode_s, share.augment_s) > 0
        assert torch.equal(ready.clip[1:3], share.rows(slice(1, 3), 0.5).to(CPU).clip)
        norms += share.norm.tolist()
    assert len({str(norm) for norm in norms}) == (8 if clip.color else {"rgb": 1, "flow": 2}[clip.stream])  # flips


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
        return np.stack([*self.each_rgb(sample, indices)])

    def each_rgb(self, sample, indices):
        self.reads += 1
        if sample.video_id == self.bad:
            raise ZeroDivisionError("a bug")
        return self.dataset.each_rgb(sample, indices)


def test_reading_ahead_is_bounded(dataset):
    counting = Counting(dataset)
    batches = loader_of(counting, CLIP, 2, threads=2).batches(0, 0, 1)
    next(batches)
    batches.close()
    assert counting.reads <= 2 * (STEPS_AHEAD + 1)


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
    """Each row equals train_clip's flow, on every rank; views, and clips without a target, have none."""
    clip = ClipSettings(segments=3, snippet=2, size=32, target="flow")
    loader = loader_of(dataset, clip, 7, threads=3)
    by_video = {sample.video_id: sample for sample in dataset.samples("train") if sample.video_id != LONG}
    for rank in (0, 1):
        for batch in (share for portion in loader.batches(1, rank, 2) for share in portion.shares):
            assert batch.flow.shape == (len(batch.labels), 2, 3, 32, 32)
            assert batch.to(CPU).flow is batch.flow
            for video_id, array, flow in zip(batch.video_ids, batch.to(CPU).clip, batch.flow, strict=True):
                if video_id in by_video:
                    expected = np.empty((2, 3, 32, 32), np.float32)
                    same = train_clip(dataset, by_video[video_id], clip, 1, flow=expected)
                    np.testing.assert_array_equal(array, same)
                    np.testing.assert_array_equal(flow, expected)
    assert next(loader_of(dataset, CLIP, 4).batches(0, 0, 1)).shares[0].flow is None
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
    loader = loader_of(dataset, clip, 2, multigrid="both", epochs=4, schedule="constant", micro_batches=2)
    ranks = [list(loader.batches(0, rank, world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {loader.steps(0)} == {1}
    shares = [share for (portion,) in ranks for share in portion.shares]
    assert [tuple(share.clip.shape) for share in shares] == [(4, 3, 1, 23, 23)] * 2
    assert {portion.lr for (portion,) in ranks} == {8.0}
    last = list(loader.batches(3, 0, 1))
    assert [tuple(share.clip.shape) for (portion,) in [last] for share in portion.shares] == [(4, 3, 4, 32, 32)] * 2
    assert [portion.lr for portion in last] == [1.0]


def test_a_dense_clip_of_fewer_frames_covers_the_same_time():
    dense = ClipSettings(sampling="dense", segments=16, stride=5, size=224)
    coarse = resized(dense, Step(8, frames=0.25, size=0.5))
    assert (coarse.segments, coarse.stride, coarse.size) == (4, 20, 112)
    assert resized(dense, Step(8)) == dense
    assert resized(ClipSettings(segments=3), Step(8, frames=0.25)).segments == 1
