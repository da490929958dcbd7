"""The tree of exact sums, against a recursive one."""

import itertools
import math

import pytest

from tasks.learn.shares import count_shares, own_shares
from tasks.learn.tree import Place, Tree, subtrees

pytestmark = pytest.mark.quick


def together(left, right):
    """A sum as text, which shows its order."""
    return f"({left}+{right})"


def reference(leaves, start, level):
    """The value of a node by the definition; None where it has no leaf."""
    if start >= leaves:
        return None
    if level == 0:
        return str(start)
    left, right = (reference(leaves, start + half * 2 ** (level - 1), level - 1) for half in (0, 1))
    return left if right is None else together(left, right)


def whole(leaves):
    return reference(leaves, 0, math.ceil(math.log2(leaves)))


def test_five_leaves():
    assert whole(5) == "(((0+1)+(2+3))+4)"


@pytest.mark.parametrize("leaves", range(1, 41))
def test_the_sum_is_the_trees_whoever_adds_what(leaves):
    for world in range(1, 9):
        combined = Tree(leaves, together)
        for rank in range(world):
            own, most = Tree(leaves, together), 0
            for leaf in own_shares(leaves, rank, world):
                own.push(Place(leaf, 0), str(leaf))
                most = max(most, len(own.nodes) + 1)  # and the one that is computed
            assert tuple(place for place, _ in own.nodes) == subtrees(leaves, rank, world)
            assert most <= math.ceil(math.log2(leaves)) + 2
            for place, value in own.nodes:
                assert value == reference(leaves, *place)
                combined.push(place, value)
        assert [value for _, value in combined.nodes] == [whole(leaves)]


@pytest.mark.parametrize("leaves", [64, 100, 127, 128, 255, 256])
def test_memory_is_bounded_for_many_shares(leaves):
    for world in range(1, 9):
        for rank in range(world):
            tree = Tree(leaves, lambda left, right: None)
            for leaf in own_shares(leaves, rank, world):
                tree.push(Place(leaf, 0), None)
                assert len(tree.nodes) + 1 <= math.ceil(math.log2(leaves)) + 2


def test_shares_are_dealt_once_in_order():
    for shares, world in itertools.product(range(1, 34), range(1, 9)):
        dealt = [list(own_shares(shares, rank, world)) for rank in range(world)]
        assert list(itertools.chain(*dealt)) == list(range(shares))
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
        assert dealt[-1]  # the last worker always has one


def test_no_share_is_smaller_than_the_smallest():
    for clips, shares, smallest in itertools.product(range(1, 70), range(1, 20), (2, 4)):
        count = count_shares(clips, shares, smallest)
        assert 1 <= count <= shares
        sizes = [len(range(clips)[share::count]) for share in range(count)]
        assert min(sizes) >= min(smallest, clips)
        assert count == shares or clips < (count + 1) * smallest
        half = (clips + 1) // 2
        if smallest == 4 and clips >= 4:
            for share in range(count):
                assert len(range(share, half, count)) >= 2
                assert sizes[share] - len(range(share, half, count)) >= 2
