"""Small disks in memory, to be full: real mounts, which need root."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def mounted(folder: Path, *arguments: str) -> None:
    """Mount something on a folder, or skip the test."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


@contextmanager
def disk_of(size: str) -> Iterator[Path]:
    """Give a disk of a size such as `400k`. Its path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="marey-disk-", dir="/tmp") as folder:
        mounted(Path(folder), "-t", "tmpfs", "-o", f"size={size}", "tmpfs")
        yield Path(folder)
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte; return the file to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(2**16)):
                pass
        except OSError:
            return filler
    raise AssertionError("a disk without end")
