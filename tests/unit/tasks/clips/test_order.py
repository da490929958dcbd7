import numpy as np
import pytest

from tasks.clips.order import balanced_order, deal, epoch_order

pytestmark = pytest.mark.quick


def even(samples, batch_size):
    return [len(range(samples)[start : start + batch_size]) for start in range(0, samples, batch_size)]


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 50])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_rank_takes_equal_steps_and_every_sample_is_read_once(n, batch_size, world):
    order, sizes = np.random.default_rng(0).permutation(n), even(n, batch_size)
    ranks = [deal(order, sizes, rank, world, shares=4, smallest=2) for rank in range(world)]
    assert {len(steps) for steps in ranks} == {len(sizes)}
    assert [own.count for own in ranks[0]] == sizes
    assert sorted(i for steps in ranks for own in steps for share in own.shares for i in share) == list(range(n))
    for owns in zip(*ranks, strict=True):
        assert len({own.of for own in owns}) == 1
        assert [own.first for own in owns] == [owns[0].of * rank // world for rank in range(world)]
        assert sum(len(own.shares) for own in owns) == owns[0].of


def test_a_share_holds_every_kth_sample_on_any_number_of_workers():
    order, cut = np.arange(23), {"shares": 4, "smallest": 2}
    alone = deal(order, [9, 9, 5], 0, 1, **cut)
    assert [share.tolist() for share in alone[0].shares] == [[0, 4, 8], [1, 5], [2, 6], [3, 7]]
    assert [share.tolist() for share in alone[2].shares] == [[18, 20, 22], [19, 21]]
    for world in (2, 3, 5):
        several = zip(*[deal(order, [9, 9, 5], rank, world, **cut) for rank in range(world)], strict=True)
        for whole, owns in zip(alone, several, strict=True):
            assert [s.tolist() for own in owns for s in own.shares] == [s.tolist() for s in whole.shares]


def test_an_epoch_is_a_permutation_and_depends_on_seed_and_epoch_alone():
    shards = np.repeat(np.arange(20), 13)
    first = epoch_order(shards, seed=1, epoch=0)
    assert sorted(first) == list(range(260))
    assert np.array_equal(first, epoch_order(list(shards), seed=1, epoch=0))
    assert not np.array_equal(first, epoch_order(shards, seed=1, epoch=1))
    assert not np.array_equal(first, epoch_order(shards, seed=2, epoch=0))


def test_samples_stay_within_a_window_of_shards():
    shards = np.repeat(np.arange(12), 5)
    order = shards[epoch_order(shards, seed=0, epoch=3, window=4)]
    windows = [set(order[i : i + 20]) for i in range(0, 60, 20)]
    assert [len(window) for window in windows] == [4, 4, 4]
    assert set.union(*windows) == set(range(12))
    assert len(set(order[:8])) > 1  # shuffled within the window, not shard after shard


def test_a_balanced_epoch_has_classes_alike_and_uses_all_of_a_class_before_any_again():
    labels = np.repeat([0, 1, 3], [50, 7, 2])  # no sample of class 2
    shards = np.arange(59) // 4
    epochs = [balanced_order(labels, shards, seed=0, epoch=epoch) for epoch in range(20)]
    for codes in epochs:
        assert len(set(codes.tolist())) == len(codes) == 59
        copies, samples = np.divmod(codes, 59)
        assert sorted(np.bincount(labels[samples])) == [0, 19, 20, 20]
        for label, members in ((0, 50), (1, 7), (3, 2)):
            times = np.bincount(samples[labels[samples] == label], minlength=59)[labels == label]
            assert len(times) == members
            assert times.max() - times.min() <= 1
            assert copies[labels[samples] == label].max() == times.max() - 1
    assert set(np.concatenate(epochs) % 59) == set(range(59))  # each epoch has others of the large class
    assert np.array_equal(epochs[3], balanced_order(labels, shards, seed=0, epoch=3))
    assert not np.array_equal(epochs[3], balanced_order(labels, shards, seed=1, epoch=3))


def test_a_balanced_epoch_reads_a_few_shards_at_a_time():
    shards = np.repeat(np.arange(20), 13)
    order = balanced_order(np.arange(260) % 2, shards, seed=0, epoch=3, window=4)
    first = shards[order[:52]]
    assert len(set(first)) == 4
