"""Folders for what Ray keeps on this machine (sockets, logs, code) that no other account can enter.

Ray makes its own folders for everybody, and runs code from them: here they lie below one of ours, with mode 0700.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError

log = logging.getLogger(__name__)

PREFIX = "marey-ray-"
_NAME = re.compile(PREFIX + "[a-z0-9_]{8}")  # as tempfile makes it
# A socket's path has at most 107 bytes, and Ray puts this below our folder; it opens its own part of it to everybody.
_SOCKET = "/r/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store.99"
LONGEST = 107 - len(_SOCKET) - len(f"/{PREFIX}12345678")
"""Bytes that the path of the folder around ours may have."""
LEAST_FREE = 64 * 2**20
"""Bytes that must be free there for Ray's logs and packages."""
_REMOVALS = 5
_ADVICE = f"set RAY_TMPDIR to a folder with space whose path has at most {LONGEST} bytes"


@dataclass(frozen=True)
class PrivateFolder:
    """A folder that this account alone can enter; it counts as in use while `lock` is open in any process."""

    path: Path
    lock: int
    """File descriptor of the folder with an exclusive lock, which ends with the last process that has it open."""

    @property
    def ray(self) -> Path:
        """The part of the folder for Ray itself, which opens it to everybody who gets that far."""
        return self.path / "r"

    def release(self) -> None:
        """Give the folder up; where no other process has it open, the next start of any run may remove it."""
        with contextlib.suppress(OSError):
            os.close(self.lock)

    def remove(self) -> None:
        """Remove the folder and what it holds."""
        remove(self.path)
        self.release()


def make() -> PrivateFolder:
    """Make a folder, after removing those that ended runs of this account have left.

    It lies below RAY_TMPDIR, else below TMPDIR or /tmp, whichever can hold it.

    Raises:
        ClusterError: none of them can hold it.
    """
    base = _base()
    try:
        _sweep(base)
        while True:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            lock = _lock(path)
            if lock is not None and path.is_dir():  # no sweep of another run came first
                return PrivateFolder(path, lock)
    except OSError as error:  # such as a file system without locks
        raise ClusterError(f"cannot keep Ray's folders in {base} ({error.strerror}): {_ADVICE}") from error


def is_ours(path: Path) -> bool:
    """Return whether `path` is a folder that `make` made for this account: by name, kind, owner and mode."""
    try:
        info = path.lstat()
    except OSError:
        return False
    kept = stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077
    return kept and is_private_name(path)


def is_private_name(path: Path) -> bool:
    """Return whether `path` is one that `make` could have made, whatever lies there."""
    return path.is_absolute() and _NAME.fullmatch(path.name) is not None and ".." not in path.parts


def remove(path: Path) -> None:
    """Remove a folder of `make`, and nothing else."""
    for _ in range(_REMOVALS):  # what ends just now may still write into it
        if not is_ours(path):
            return
        shutil.rmtree(path, ignore_errors=True)


def _lock(path: Path) -> int | None:
    """Return a descriptor of the folder with its lock; None where another process has it, or the folder is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(base: Path) -> None:
    for path in base.glob(f"{PREFIX}*"):
        if is_ours(path) and (descriptor := _lock(path)) is not None:
            remove(path)
            os.close(descriptor)


def _base() -> Path:
    if given := os.environ.get("RAY_TMPDIR"):
        if reason := _unfit(Path(given).absolute()):
            raise ClusterError(f"RAY_TMPDIR={given} cannot hold Ray's folders ({reason}): {_ADVICE}")
        return Path(given).absolute()
    reasons: list[str] = []
    for name in dict.fromkeys([os.environ.get("TMPDIR") or "/tmp", "/tmp"]):
        path = Path(name).absolute()
        reason = _unfit(path)
        if reason is None:
            if reasons:
                log.info("Ray's folders lie in %s (%s); RAY_TMPDIR chooses another place", path, reasons[0])
            return path
        reasons.append(f"{name}: {reason}")
    raise ClusterError(f"no folder can hold Ray's sockets and logs ({'; '.join(reasons)}): {_ADVICE}")


def _unfit(path: Path) -> str | None:
    """Return why Ray's folders cannot lie in `path`, None where they can."""
    if len(os.fsencode(path)) > LONGEST:
        return f"its path has more than {LONGEST} bytes"
    try:
        real = path.resolve(strict=True)
        free = shutil.disk_usage(real).free
    except OSError as error:
        return (error.strerror or str(error)).lower()
    if not real.is_dir():
        return "not a folder"
    if not os.access(real, os.W_OK | os.X_OK):
        return "it cannot be written"
    if free < LEAST_FREE:
        return f"only {free // 2**20} MiB are free"
    if (open_one := next(_open_to_others([path, real]), None)) is not None:
        return f"other accounts can replace what is in {open_one}"
    return None


def _open_to_others(paths: list[Path]) -> Iterator[Path]:
    """Yield the folders above and at `paths` in which another account could rename ours."""
    trusted = {0, os.geteuid(), _overflow_uid()}
    for path in (folder for each in paths for folder in (each, *each.parents)):
        info = path.lstat()
        shared = not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX
        if shared or info.st_uid not in trusted:
            yield path


def _overflow_uid() -> int:
    """Return the owner that the kernel shows for accounts outside this user namespace, such as a container's host."""
    return int(Path("/proc/sys/kernel/overflowuid").read_text())
