"""Random numbers as pure functions of what they are for, so that a position is all a resume needs."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike


def seed(*key: int | str) -> int:
    """Hash a key (seed, epoch, video id, view, ...) to 63 bits."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little") >> 1


class _Key(ISeedSequence):
    """The key of a Philox, which then gathers no entropy of which it would have no use."""

    def __init__(self, key: int) -> None:
        self._key = key

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint64) -> np.ndarray:
        return np.array([self._key, *[0] * (n_words - 1)], dtype)


def generator(*key: int | str) -> np.random.Generator:
    """Return a generator whose numbers depend on the key alone, on every machine."""
    return np.random.Generator(np.random.Philox(_Key(seed(*key))))  # type: ignore[arg-type]  # its stub lacks this
