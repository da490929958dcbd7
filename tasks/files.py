"""Local files: opened only if they are files, and written so that they are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NotRegularError(OSError):
    """A folder, a pipe, a device or a socket is where a file should be."""


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file; OSError if it cannot be read."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def open_regular(path: str) -> int:
    """Return the descriptor of a regular file, opened for reading.

    Raises:
        NotRegularError: it is anything else.
        OSError: it cannot be opened.
    """
    # A pipe would wait for a writer, a terminal would become ours.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, "not a regular file", path)
    return descriptor


@contextmanager
def replacing(path: str | os.PathLike[str], *, synced: bool = True) -> Iterator[str]:
    """Give the path of a new file, and move the file to `path` when the block ends well.

    It lies in the same folder, as `.NAME.RANDOM.tmp`. Readers see the old file, or none, until then; after an exception
    too. Unless `synced` nobody waits for the disk, and after a power cut the file may be damaged.
    """
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        yield aside
        if synced:
            move_into_place(aside, path)
        else:
            os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def move_into_place(aside: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Move a finished file or folder to `path` in the same folder, and return when this is on the disk.

    A file is replaced in one step; a folder that stands there is removed first.
    """
    if os.path.isdir(aside):
        for entry in [*Path(aside).rglob("*"), Path(aside)]:
            _sync(entry)
        shutil.rmtree(path, ignore_errors=True)
    else:
        _sync(aside)
    os.replace(aside, path)
    _sync(os.path.dirname(path) or os.curdir)


def _sync(path: str | os.PathLike[str]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
