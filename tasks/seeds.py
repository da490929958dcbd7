"""Random numbers as pure functions of what they are for, so that a position is all a resume needs."""

from __future__ import annotations

import hashlib

import numpy as np


def seed(*key: int | str) -> int:
    """Hash a key (seed, epoch, video id, view, ...) to 63 bits."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """Return a generator whose numbers depend on the key alone, on every machine."""
    return np.random.Generator(np.random.Philox(key=seed(*key)))
