"""Compiled kernels, which the first process on a machine caches for the others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import njit

Entry = Callable[[int], Callable[..., int]]
_log = logging.getLogger(__name__)


def compiled(entry: Entry, signature: Any) -> Callable[..., None]:
    """Return a kernel, compiled or loaded.

    Args:
        entry: returns the kernel for a digest of the sources, which the kernel returns in turn. numba checks only the
            kernel's own file for changes, but what a kernel closes over is part of the cache's key too.
        signature: numba's signature of the kernel.
    """
    options = {"error_model": "numpy", "nogil": True}
    try:
        kernel = njit(cache=True, **options)(entry(_digest(Path(entry.__code__.co_filename).parent)))
    except RuntimeError as error:  # raised by numba if no folder is writable
        _log.warning(
            "kernels cannot be cached (%s), so every process compiles them: set NUMBA_CACHE_DIR to a writable folder",
            error,
        )
        kernel = njit(**options)(entry(0))
        kernel.compile(signature)
        return kernel
    # Workers that start together wait for the first instead of compiling too.
    with FileLock(Path(kernel.stats.cache_path) / f"marey-{kernel.__name__}.lock"):
        kernel.compile(signature)
    return kernel


def _digest(folder: Path) -> int:
    """Return a digest of the sources in a folder and here."""
    content = hashlib.sha256()
    for file in [*sorted(folder.glob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]:
        content.update(file.read_bytes())
    return int.from_bytes(content.digest()[:7])
