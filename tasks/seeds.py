"""Random numbers as pure functions of what they belong to, so that a position is all a resume needs."""

from __future__ import annotations

import hashlib

import numpy as np


def seed(*parts: int | str) -> int:
    """Hash the parts (seed, epoch, video id, view, ...) to 63 bits."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """Return a generator whose stream depends on the parts alone, on every machine."""
    return np.random.Generator(np.random.Philox(key=seed(*parts)))
