import numpy as np
import pytest

from tasks.clips.order import deal, epoch_order

pytestmark = pytest.mark.quick


def even(samples, batch_size):
    return [len(range(samples)[start : start + batch_size]) for start in range(0, samples, batch_size)]


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 50])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_rank_takes_equal_steps_and_every_sample_is_read_once(n, batch_size, world):
    order, sizes = np.random.default_rng(0).permutation(n), even(n, batch_size)
    ranks = [deal(order, sizes, rank, world) for rank in range(world)]
    assert {len(steps) for steps in ranks} == {len(sizes)}
    assert [batch.count for batch in ranks[0]] == sizes
    read = [i for steps in ranks for batch in steps if not batch.filler for i in batch.indices]
    assert sorted(read) == list(range(n))
    for batches in zip(*ranks, strict=True):
        assert sum(len(batch.indices) for batch in batches if not batch.filler) == batches[0].count
        assert all(batch.count == batches[0].count and len(batch.indices) for batch in batches)
        assert not batches[0].filler  # rank 0's batch norm statistics are kept


def test_steps_hold_the_same_samples_on_any_number_of_workers():
    order = np.arange(23)
    alone = [set(batch.indices) for batch in deal(order, even(23, 6), 0, 1)]
    three = zip(*[deal(order, even(23, 6), rank, 3) for rank in range(3)], strict=True)
    assert [set().union(*(set(s.indices) for s in batches if not s.filler)) for batches in three] == alone


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
