"""The folder of a machine's cache of shards: a ledger of what was written there, and room for more within a limit.

What the ledger does not name, or what has changed since it was written, is not read, counted or removed. Processes
share the folder: they change the ledger one at a time, and hold a lock on what they fetch and on what they read. A
process that was killed leaves a part of a shard, which the next one that asks for room removes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from tasks.files import replacing

SPARE_BYTES = 1 << 30
"""Bytes of the disk that stay free."""
PATIENCE_S = 60.0
"""How long other processes may hold the ledger; each needs milliseconds."""

_LEDGER = "ledger.json"
_PART = re.compile(r"\.[0-9a-f]{64}\.(?P<bytes>[0-9]+)\.part")
"""Name of a shard that is being fetched: its sha256, and the bytes that it will have."""


@dataclass(frozen=True)
class Entry:
    """What the ledger says of a file."""

    bytes: int
    modified_ns: int
    dataset: str
    """Key of the dataset that it was fetched for."""


class CacheFolder:
    """Files by the sha256 of their content; OSError where the folder cannot be used."""

    def __init__(self, path: Path, limit: int, spare: int = SPARE_BYTES) -> None:
        self._path, self._limit, self._spare = path, limit, spare
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another account")

    def file(self, sha256: str) -> Path:
        """Return the path that a file of this content has, or would have."""
        return self._path / f"{sha256}.tar"

    def fetching(self, sha256: str, seconds: float) -> FileLock:
        """Return the lock of who fetches or adopts a file; filelock.Timeout after `seconds`."""
        return FileLock(self._path / f"{sha256[:2]}.lock", timeout=seconds, mode=0o600)

    def read_on(self, dataset: str) -> int:
        """Keep the files of a dataset from being removed; return a descriptor, which holds this until it is closed."""
        descriptor = os.open(self._path / f"{dataset}.reading", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def touch(self, sha256: str) -> bool:
        """Note that a file is used; return whether there is one as it was written."""
        path = self.file(sha256)
        with self._ledger() as ledger:
            if sha256 not in ledger or not _unchanged(path, ledger[sha256]):
                return False
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return True

    def add(self, sha256: str, dataset: str) -> None:
        """Enter a file whose content has been checked."""
        status = self.file(sha256).stat()
        with self._ledger() as ledger:
            ledger[sha256] = Entry(status.st_size, status.st_mtime_ns, dataset)

    @contextmanager
    def room(self, sha256: str, size: int, dataset: str) -> Iterator[Path | None]:
        """Reserve room for a file, and give the path to write it to; None where it does not fit.

        A file that is left at that path when the block ends well becomes the one of this content.
        """
        with self._ledger() as ledger:
            part = self._path / f".{sha256}.{size}.part"
            descriptor = -1
            if self._make_room(ledger, size, dataset):
                descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if descriptor < 0:
            yield None
            return
        try:
            yield part
            if part.exists():
                part.replace(self.file(sha256))
                self.add(sha256, dataset)
        finally:
            part.unlink(missing_ok=True)
            os.close(descriptor)

    def _make_room(self, ledger: dict[str, Entry], size: int, dataset: str) -> bool:
        """Return whether so many bytes fit, after files of datasets that nobody reads have been removed for them."""
        reserved = sum(self._parts())
        kept = {sha256: entry for sha256, entry in ledger.items() if _unchanged(self.file(sha256), entry)}
        free = shutil.disk_usage(self._path).free - self._spare - reserved
        lacking = max(reserved + sum(entry.bytes for entry in kept.values()) + size - self._limit, size - free)
        idle = [sha256 for sha256, entry in kept.items() if entry.dataset != dataset and not self._is_read(entry)]
        if size > self._limit or lacking > sum(kept[sha256].bytes for sha256 in idle):
            return False
        for sha256 in sorted(idle, key=lambda sha256: self.file(sha256).stat().st_atime_ns):
            if lacking <= 0:
                break
            self.file(sha256).unlink()
            lacking -= ledger.pop(sha256).bytes
        return True

    def _parts(self) -> Iterator[int]:
        """Yield the bytes of what is being fetched, and remove what a process has left."""
        for part in self._path.iterdir():
            if name := _PART.fullmatch(part.name):
                with suppress(FileNotFoundError):
                    if _is_free(part):
                        part.unlink()
                    else:
                        yield int(name["bytes"])

    def _is_read(self, entry: Entry) -> bool:
        with suppress(FileNotFoundError):
            return not _is_free(self._path / f"{entry.dataset}.reading")
        return False

    @contextmanager
    def _ledger(self) -> Iterator[dict[str, Entry]]:
        """Give the ledger to this process alone, and write what has been changed in it."""
        file = self._path / _LEDGER
        with FileLock(f"{file}.lock", timeout=PATIENCE_S, mode=0o600):
            before = _read(file)
            ledger = dict(before)
            yield ledger
            if ledger != before:
                with replacing(file, synced=False) as aside:
                    content = {sha256: asdict(entry) for sha256, entry in ledger.items()}
                    Path(aside).write_text(json.dumps(content))


def _read(file: Path) -> dict[str, Entry]:
    """Return the ledger; an empty one where it is damaged, so that files are checked before they are read again."""
    try:
        content = json.loads(file.read_text())
        entries = {str(sha256): Entry(**fields) for sha256, fields in content.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
    return {sha256: entry for sha256, entry in entries.items() if _plausible(sha256, asdict(entry))}


def _plausible(sha256: str, fields: Mapping[str, object]) -> bool:
    kinds = [type(fields[name]) for name in ("bytes", "modified_ns", "dataset")]
    return bool(re.fullmatch("[0-9a-f]{64}", sha256)) and kinds == [int, int, str]


def _unchanged(file: Path, entry: Entry) -> bool:
    try:
        status = file.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (entry.bytes, entry.modified_ns)


def _is_free(file: Path) -> bool:
    """Return whether no process holds a lock on a file."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
