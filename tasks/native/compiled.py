"""Kernels as machine code: compiled by the first process on a machine, which keeps them for the others."""

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
    """A kernel, compiled or loaded.

    Args:
        entry: given the digest of the sources, gives the kernel, which returns it. numba looks for changes in the
            kernel's file alone; but what a kernel closes over is in the cache's key too.
        signature: numba's, of the kernel.
    """
    options = {"error_model": "numpy", "nogil": True}
    try:
        kernel = njit(cache=True, **options)(entry(_digest(Path(entry.__code__.co_filename).parent)))
    except RuntimeError as error:  # numba's, when no folder can be written
        _log.warning("Every process compiles the kernels anew; set NUMBA_CACHE_DIR to a folder. (%s)", error)
        kernel = njit(**options)(entry(0))
        kernel.compile(signature)
        return kernel
    # Workers that start together wait for the first rather than compile beside it.
    with FileLock(Path(kernel.stats.cache_path) / f"marey-{kernel.__name__}.lock"):
        kernel.compile(signature)
    return kernel


def _digest(folder: Path) -> int:
    """Of the sources in a folder and here."""
    content = hashlib.sha256()
    for file in [*sorted(folder.glob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]:
        content.update(file.read_bytes())
    return int.from_bytes(content.digest()[:7])
