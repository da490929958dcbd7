import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tasks.clips import ClipSettings
from tasks.clips.sampling import train_indices, view_indices
from tasks.seeds import generator

pytestmark = pytest.mark.quick


def segments(k, length=1):
    return ClipSettings(segments=k, snippet=length)


def dense(k, stride):
    return ClipSettings(sampling="dense", segments=k, stride=stride)


@pytest.mark.parametrize(
    ("n", "k", "expected"),
    [
        (100, 3, [16, 50, 83]),
        (100, 8, [6, 18, 31, 43, 56, 68, 81, 93]),
        (100, 25, list(range(2, 99, 4))),
        (10, 16, [0, 0, 1, 2, 2, 3, 4, 4, 5, 5, 6, 7, 7, 8, 9, 9]),
        (1, 4, [0, 0, 0, 0]),
    ],
)
def test_centres_of_segments(n, k, expected):
    assert view_indices(n, segments(k)).tolist() == expected


def test_snippets_of_flow_pairs():
    indices = view_indices(99, segments(3, 5))
    assert indices.reshape(3, 5)[:, 0].tolist() == [15, 47, 79]
    assert np.array_equal(np.diff(indices.reshape(3, 5)), np.ones((3, 4)))


def test_a_snippet_longer_than_the_video_repeats_its_last_pair():
    assert view_indices(3, segments(2, 5)).reshape(2, 5).tolist() == [[0, 1, 2, 2, 2]] * 2
    assert train_indices(3, segments(2, 5), generator(0)).reshape(2, 5).tolist() == [[0, 1, 2, 2, 2]] * 2


def test_items_of_a_snippet_at_a_step():
    """I' is 4 frames after I: 96 starts of 100 frames, and I' never beyond the last."""
    clip = ClipSettings(segments=3, snippet=2, snippet_step=4)
    assert view_indices(100, clip).reshape(3, 2).tolist() == [[16, 20], [48, 52], [80, 84]]
    seen = set()
    for epoch in range(300):
        pairs = train_indices(100, clip, generator(0, epoch)).reshape(3, 2)
        assert (pairs[:, 1] - pairs[:, 0] == 4).all()
        assert (pairs[:, 0] // 32 == np.arange(3)).all()
        seen |= set(pairs[:, 0].tolist())
    assert seen == set(range(96))
    assert train_indices(3, clip, generator(0)).reshape(3, 2).tolist() == [[0, 2]] * 3


def test_a_pair_has_a_flow_between_its_frames():
    """The last of 13 frames has no successor: pairs start at every frame but that."""
    pairs = np.concatenate([train_indices(13, segments(3, 2), generator(e)).reshape(3, 2) for e in range(200)])
    assert set(pairs[:, 0].tolist()) == set(range(12))
    assert (pairs[:, 1] == pairs[:, 0] + 1).all()


def test_two_clips_read_each_segment_at_its_quarters():
    assert [view_indices(80, segments(4), v, 2).tolist() for v in (0, 1)] == [[5, 25, 45, 65], [15, 35, 55, 75]]


def test_one_of_one_view_is_the_default():
    for n in range(1, 60):
        assert np.array_equal(view_indices(n, segments(8), 0, 1), view_indices(n, segments(8)))


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 31, 100])
@pytest.mark.parametrize(("k", "length"), [(1, 1), (3, 5), (8, 1), (16, 1)])
def test_starts_stay_in_range_and_in_their_segments(n, k, length):
    usable = max(1, n - length + 1)
    for epoch in range(20):
        indices = train_indices(n, segments(k, length), generator(0, epoch)).reshape(k, length)
        starts = indices[:, 0]
        assert ((starts >= 0) & (starts < usable)).all()
        assert (np.diff(starts) >= 0).all()
        assert indices.max() < n
        if usable >= k:
            assert (starts // (usable // k) == np.arange(k)).all()
    for views in (1, 2, 10):
        for view in range(views):
            starts = view_indices(n, segments(k, length), view, views).reshape(k, length)[:, 0]
            assert ((starts >= 0) & (starts < usable)).all()
            exact = [Fraction(usable, k) * (i + (view + Fraction(1, 2)) / views) for i in range(k)]
            assert starts.tolist() == [math.floor(start) for start in exact]


def test_training_reaches_every_frame():
    seen = {int(i) for epoch in range(200) for i in train_indices(24, segments(8), generator(0, epoch))}
    assert seen == set(range(24))


def test_a_seed_decides_the_clip():
    first, same, other = (train_indices(100, segments(8), generator(0, e, "video")).tolist() for e in (0, 0, 1))
    assert first == same
    assert first != other


def test_dense_clips():
    clip = dense(8, 4)
    for epoch in range(200):
        indices = train_indices(40, clip, generator(epoch))
        assert np.diff(indices).tolist() == [4] * 7
        assert 0 <= indices[0] <= 40 - 7 * 4 - 1
    firsts = {int(train_indices(40, clip, generator(epoch))[0]) for epoch in range(400)}
    assert firsts == set(range(12))  # every start in [0, N - (T-1)*s - 1]
    assert [int(view_indices(40, clip, v, 4)[0]) for v in range(4)] == [0, 3, 7, 11]
    assert int(view_indices(40, clip)[0]) == 5


def test_a_dense_clip_of_a_short_video_is_clamped():
    expected = [0, 4, 8, 9, 9, 9, 9, 9]
    assert train_indices(10, dense(8, 4), generator(0)).tolist() == expected
    assert view_indices(10, dense(8, 4), 2, 3).tolist() == expected


def test_or_starts_again():
    clip = replace(dense(8, 4), short="loop")
    expected = [0, 4, 8, 2, 6, 0, 4, 8]
    assert train_indices(10, clip, generator(0)).tolist() == expected
    assert view_indices(10, clip, 2, 3).tolist() == expected
    pairs = replace(clip, snippet=2)  # 9 starts, each with the item after it
    assert view_indices(10, pairs).reshape(8, 2)[:, 0].tolist() == [0, 4, 8, 3, 7, 2, 6, 1]
    assert (np.diff(view_indices(10, pairs).reshape(8, 2)) == 1).all()
    assert view_indices(1, clip).tolist() == [0] * 8


@pytest.mark.parametrize("n", [29, 30, 64])
def test_a_video_long_enough_is_read_alike_by_both(n):
    clamp, loop = dense(8, 4), replace(dense(8, 4), short="loop")
    for view in range(3):
        assert np.array_equal(view_indices(n, clamp, view, 3), view_indices(n, loop, view, 3))
        assert np.array_equal(train_indices(n, clamp, generator(view)), train_indices(n, loop, generator(view)))
