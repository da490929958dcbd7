"""Compiled kernels, which the first process on a machine caches for the others."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock
from numba import njit

Entry = Callable[[int], Callable[..., int]]
OPTIONS = {"error_model": "numpy", "nogil": True}
SILENT_S = 5.0
"""How long compiling may take without a word."""
_log = logging.getLogger(__name__)


def compiled(entry: Entry, signature: Any) -> Callable[..., None]:
    """Return a kernel, compiled or loaded.

    Args:
        entry: returns the kernel for a digest of the sources, which the kernel returns in turn. numba checks only the
            kernel's own file for changes, but what a kernel closes over is part of the cache's key too.
        signature: numba's signature of the kernel.
    """
    kernel = _cached(entry, None) or _cached(entry, _private_folder())
    if kernel:
        try:
            # Workers that start together wait for the first instead of compiling too.
            with _patience(), FileLock(Path(kernel.stats.cache_path) / f"marey-{kernel.__name__}.lock"):
                kernel.compile(signature)
            return kernel
        except OSError as error:  # such as a full disk
            reason = error.strerror or str(error)
    else:
        reason = "no folder is writable"
    _say_uncached(reason)
    kernel = njit(**OPTIONS)(entry(0))
    kernel.compile(signature)
    return kernel


def _cached(entry: Entry, folder: Path | None) -> Any:
    """Return a kernel that numba caches where it likes, or in a folder; None if it cannot write there."""
    before = numba.config.CACHE_DIR
    try:
        if folder:
            numba.config.CACHE_DIR = str(folder)
        return njit(cache=True, **OPTIONS)(entry(_digest(Path(entry.__code__.co_filename).parent)))
    except RuntimeError:  # raised by numba if no folder is writable
        return None
    finally:
        numba.config.CACHE_DIR = before


@cache
def _say_uncached(reason: str) -> None:
    _log.warning(
        "kernels cannot be cached (%s), so every process compiles them, some 15 s each: set NUMBA_CACHE_DIR to a "
        "writable folder",
        reason,
    )


def _private_folder() -> Path | None:
    """Return a folder that no other user can write to, for what it holds is run; None if there is none."""
    try:
        folder = Path(tempfile.gettempdir()) / f"marey-kernels-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if own else None


@contextmanager
def _patience() -> Iterator[None]:
    """Say what takes so long, if anything does."""
    timer = threading.Timer(
        SILENT_S, _log.warning, ("kernels are being compiled, once on this machine, which takes some 15 s",)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _digest(folder: Path) -> int:
    """Return a digest of the sources in a folder and here."""
    content = hashlib.sha256()
    for file in [*sorted(folder.glob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]:
        content.update(file.read_bytes())
    return int.from_bytes(content.digest()[:7])
