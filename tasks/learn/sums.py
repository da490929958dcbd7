"""Sums over the shares of a step, whoever computes them: to the last bit, or as fast as can be.

Tensors are given as lists, one list a share; a sum is taken over shares, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from tasks.learn import parallel
from tasks.learn.tree import Place, Tree, subtrees

Kind = Literal["exact", "fast"]
BUCKET_BYTES = 2**24
"""Bytes that are exchanged at once: sums then need little memory besides the tensors themselves."""


class Sum(Protocol):
    """A sum over the shares of one step."""

    def add(self, tensors: list[Tensor]) -> None:
        """Add the next of this worker's shares; the tensors are laid out like those of `total` and not used again."""

    def total(self, like: Sequence[Tensor]) -> list[Tensor]:
        """Return the sum over all shares of all workers, which have as many tensors as `like`, of its shapes and types.

        Every worker calls this, also one without a share.
        """


def start(kind: Kind, first: int, shares: int, group: ProcessGroup | None) -> Sum:
    """Start a sum over the shares of a step.

    Args:
        kind: "exact" adds element by element in one tree, so that the sum has the same bits on any number of workers;
            "fast" is equal to it but for rounding.
        first: number of this worker's first share.
        shares: of the step, over all workers.
        group: the workers; None for one.
    """
    return ExactSum(first, shares, group) if kind == "exact" else FastSum(group)


class FastSum:
    """Sums in the order of computing, and over workers by one collective for each type of tensor."""

    def __init__(self, group: ProcessGroup | None) -> None:
        self._group = group
        self._own: list[Tensor] | None = None

    def add(self, tensors: list[Tensor]) -> None:
        self._own = tensors if self._own is None else _add(self._own, tensors)

    def total(self, like: Sequence[Tensor]) -> list[Tensor]:
        own = self._own or [torch.zeros_like(one) for one in like]
        if self._group is None:
            return own
        for places in _of_one_type(like):
            flat = parallel.all_sum(torch.cat(_raveled([own[place] for place in places])), self._group)
            for place, summed in zip(places, _parts(flat, [like[place] for place in places]), strict=True):
                own[place] = summed
        return own


class ExactSum:
    """Sums in the tree of `tasks.learn.tree`.

    A worker adds complete subtrees where they are, and holds at most log2(shares) + 2 lists of tensors at a time. Then
    each worker gets a slice of all subtrees, adds them up in the tree, and gives the sum to all: where each worker has
    one subtree, that is the traffic of a ring all-reduce.
    """

    def __init__(self, first: int, shares: int, group: ProcessGroup | None) -> None:
        self._next, self._shares, self._group = first, shares, group
        self._tree: Tree[list[Tensor]] = Tree(shares, _add)

    def add(self, tensors: list[Tensor]) -> None:
        self._tree.push(Place(self._next, 0), tensors)
        self._next += 1

    def total(self, like: Sequence[Tensor]) -> list[Tensor]:
        own = [tensors for _, tensors in self._tree.nodes]
        if self._group is None:
            return own[0]
        totals = own[0] if own else [torch.empty_like(one) for one in like]
        for places in _buckets(like):
            shapes = [like[place] for place in places]
            flat = self._exchange([[tensors[place] for place in places] for tensors in own], shapes)
            for place, summed in zip(places, _parts(flat, shapes), strict=True):
                totals[place].copy_(summed)
                for tensors in own[1:]:
                    tensors[place] = summed.new_empty(0)  # lets go of its memory
        return totals

    def _exchange(self, own: list[list[Tensor]], like: Sequence[Tensor]) -> Tensor:
        """Return the sum of all workers' subtrees, of which this one holds `own`: flat, and with some padding."""
        assert self._group is not None
        world = parallel.rank_and_world(self._group)[1]
        held = [subtrees(self._shares, other, world) for other in range(world)]
        elements = sum(one.numel() for one in like)
        width = -(-elements // world)
        padding = like[0].new_zeros(width * world - elements)
        sent = like[0].new_empty(world, len(own), width)
        for number, tensors in enumerate(own):
            sent[:, number] = torch.cat([*_raveled(tensors), padding]).view(world, width)
        received = parallel.all_to_all(sent, [len(places) for places in held], self._group)
        tree: Tree[Tensor] = Tree(self._shares, Tensor.add_)
        for place, part in zip((place for places in held for place in places), received, strict=True):
            tree.push(place, part)
        ((_, total),) = tree.nodes
        return parallel.all_gather(total, self._group)


def _add(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    """Add element by element, in the memory of `left`."""
    torch._foreach_add_(left, right)
    return left


def _raveled(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.reshape(-1) for tensor in tensors]


def _parts(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a flat tensor, but for its padding, in the shapes of others."""
    sizes = [one.numel() for one in like]
    parts = torch.split(flat[: sum(sizes)], sizes)
    return [part.view_as(one) for part, one in zip(parts, like, strict=True)]


def _of_one_type(like: Sequence[Tensor]) -> list[list[int]]:
    """Return the places of the tensors of each type."""
    places: dict[torch.dtype, list[int]] = {}
    for place, one in enumerate(like):
        places.setdefault(one.dtype, []).append(place)
    return list(places.values())


def _buckets(like: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield places of tensors of one type with at most BUCKET_BYTES together, or of a single larger one."""
    for places in _of_one_type(like):
        bucket: list[int] = []
        size = 0
        for place in places:
            taken = like[place].numel() * like[place].element_size()
            if bucket and size + taken > BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
            bucket.append(place)
            size += taken
        yield bucket
