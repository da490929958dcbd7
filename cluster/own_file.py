"""Files that this account alone can read and write, and that are believed for that reason."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LARGEST = 2**20
"""Most bytes that are read of one."""


class OpenToOthersError(Exception):
    """A file is another account's, can be read or written by others, or is not a file."""


def read_own(path: Path) -> bytes:
    """Return what is in a file that this account alone can read and write.

    Raises:
        OSError: it cannot be opened, for example because it does not exist.
        OpenToOthersError: it may hold what others have put there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
            raise OpenToOthersError
        return os.read(descriptor, LARGEST)
    finally:
        os.close(descriptor)
