"""The binary tree over the shares of a step, in which everything is added; standard library only.

A node of level l holds the sum of 2^l consecutive leaves: its left child plus its right one. Where the right one is
absent, beyond the last leaf, the left one passes through unchanged. Floating-point sums depend on their order; this one
is the same whoever holds which leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from tasks.learn.shares import own_shares

T = TypeVar("T")


class Place(NamedTuple):
    """A node's place in the tree."""

    start: int
    """Its first leaf."""
    level: int
    """It has 2^level leaves, or as many as there are."""


class Tree(Generic[T]):
    """Adds values of consecutive leaves as they come, like a binary counter."""

    def __init__(self, leaves: int, add: Callable[[T, T], T]) -> None:
        self.leaves, self._add = leaves, add
        self.nodes: list[tuple[Place, T]] = []
        """Complete subtrees in order, none of which could be merged with its neighbour; a single one at the end."""

    def push(self, place: Place, value: T) -> None:
        """Put a node to the right of the others, and add up what is complete with it."""
        self.nodes.append((place, value))
        while True:
            (start, level), value = self.nodes[-1]
            width = 1 << level
            if start & width:
                left = Place(start - width, level)
                if len(self.nodes) < 2 or self.nodes[-2][0] != left:
                    return
                self.nodes[-2:] = [(Place(left.start, level + 1), self._add(self.nodes[-2][1], value))]
            elif start and start + width >= self.leaves:
                self.nodes[-1] = (Place(start, level + 1), value)
            else:
                return


@lru_cache(maxsize=1024)
def subtrees(leaves: int, rank: int, world: int) -> tuple[Place, ...]:
    """Return the complete subtrees, in order, into which a worker's leaves are added where they are."""
    tree: Tree[None] = Tree(leaves, lambda left, right: None)
    for leaf in own_shares(leaves, rank, world):
        tree.push(Place(leaf, 0), None)
    return tuple(place for place, _ in tree.nodes)
