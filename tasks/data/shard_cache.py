"""Shards of remote datasets on this machine's disk: what fits is kept, the rest is read where it lies.

Each epoch reads every shard once, so that a cache which made room for the next shard would lose each one before it is
read again. Here no shard makes room for another of the same dataset. Only where a new dataset finds none, shards of
datasets that no process reads are removed, those used longest ago first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import OrderedDict, defaultdict

from filelock import Timeout

from tasks.cache_folder import cache_folder
from tasks.data import storage
from tasks.data.cache_ledger import CacheFolder
from tasks.data.ranges import OpenFile
from tasks.data.shard import tar_path
from tasks.data.sidecar import read_sidecar
from tasks.errors import UserError
from tasks.files import sha256_of
from tasks.remote import reason

VARIABLE = "MAREY_CACHE_GB"
FOLDER = "shards"
"""The cache, in this machine's folder of copies."""
WAIT_S = 900.0
"""How long a process waits for a shard that another one is fetching, before it reads it where it lies."""
OPEN = 64
"""Shards open at once, each a file descriptor."""

log = logging.getLogger(__name__)


def limit_bytes() -> int:
    """Return the size of the cache by MAREY_CACHE_GB, 0 where there is to be none.

    Raises:
        UserError: it is not a number of at least 0.
    """
    given = os.environ.get(VARIABLE, "").strip() or "0"
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < float("inf"):
        raise UserError(f"{VARIABLE} is {given}: set it to the gigabytes that the cache may take, or to 0 for none")
    return int(gigabytes * 1e9)


class ShardCache:
    """The shards of a remote dataset; every method may be called from any thread."""

    def __init__(self, root: str, limit: int) -> None:
        self._root, self._limit = root, limit
        self._dataset = hashlib.sha256(root.encode()).hexdigest()[:16]
        self._folder: CacheFolder | None = None
        self._open: OrderedDict[int, OpenFile] = OrderedDict()
        self._through: set[int] = set()
        self._lock = threading.Lock()
        self._finding: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def open(self, shard: int) -> OpenFile | None:
        """Return the copy of a shard, which is fetched first if it fits; None if it is to be read where it lies."""
        with self._lock:
            finding = self._finding[shard]
        with finding:  # by other threads this shard is waited for, and the others are read
            with self._lock:
                if shard in self._through:
                    return None
                if shard in self._open:
                    self._open.move_to_end(shard)
                    return self._open[shard]
            try:
                file = self._find(shard)
            except (OSError, Timeout, UserError) as error:
                why = reason(error) if isinstance(error, OSError) else str(error)
                log.warning("shard %06d of %s has no copy on this machine: %s", shard, self._root, why)
                file = None
            with self._lock:
                if file is None:
                    self._through.add(shard)
                else:
                    self._open[shard] = file
                    if len(self._open) > OPEN:
                        self._open.popitem(last=False)
            return file

    def is_damaged(self, shard: int) -> bool:
        """Return whether the copy of a shard is not what was fetched; the shard is then read where it lies."""
        with self._lock:
            copied = self._open.pop(shard, None) is not None
        if not copied or self._folder is None:
            return False
        sidecar = read_sidecar(self._root, shard)
        if sidecar is not None and sha256_of(self._folder.file(sidecar.sha256)) == sidecar.sha256:
            return False
        log.warning("the copy of shard %06d of %s has been damaged, and is not read any more", shard, self._root)
        with self._lock:
            self._through.add(shard)
        return True

    def _find(self, shard: int) -> OpenFile | None:
        sidecar = read_sidecar(self._root, shard)
        if sidecar is None:
            return None
        folder, sha256 = self._prepared(), sidecar.sha256
        with folder.fetching(sha256, WAIT_S):
            if not folder.touch(sha256):
                if folder.file(sha256).exists():  # the ledger was lost, or somebody has changed the file
                    if sha256_of(folder.file(sha256)) != sha256:
                        raise OSError(f"{folder.file(sha256)} is not what was written there: delete it")
                    folder.add(sha256, self._dataset)
                elif not self._fetch(folder, shard, sha256, sidecar.bytes):
                    return None
            return OpenFile(str(folder.file(sha256)))

    def _fetch(self, folder: CacheFolder, shard: int, sha256: str, size: int) -> bool:
        """Fetch a shard, and check it; return whether it fits."""
        with folder.room(sha256, size, self._dataset) as part:
            if part is None:
                return False
            try:
                storage.fetch(tar_path(self._root, shard), part)
                if sha256_of(part) != sha256:
                    raise OSError("what was fetched does not match its sha256")
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        return True

    def _prepared(self) -> CacheFolder:
        with self._lock:
            if self._folder is None:
                self._folder = CacheFolder(cache_folder() / FOLDER, self._limit)
                self._folder.read_on(self._dataset)  # until this process ends
            return self._folder
