"""What makes a folder of the workspace one driver's, and its MLflow run one that is found again."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from pipelines.tracking.folder import Folder
from pipelines.tracking.workspace import make_file, make_folder
from tasks.data import storage
from tasks.data.lock import FILE, FOLDER, STALE_S, WATCH_S, Held, Lock

KEY = "key.json"
"""File with the key, a name that no other run of any workspace has; MLflow's run carries it from its creation on."""
PAUSE_S = 1.0

log = logging.getLogger(__name__)


def hold(address: str, lost: Callable[[], object] | None = None) -> Lock:
    """Return the lock of a folder, which keeps out every other driver, on this machine and on others.

    Args:
        address: the folder.
        lost: called in a thread when another driver has taken the folder over.
    """
    if storage.is_local(address):
        for place in (Path(address), Path(address, FOLDER)):
            make_folder(place)
        make_file(Path(address, FILE), tighten=False)
    return Lock(address, machines=True, lost=lost)


def refuse_held(address: str) -> None:
    """Raise UserError where another driver works in a folder, before this one starts anything."""
    if storage.exists(address):
        with hold(address):
            pass


def outlast_other(address: str) -> None:
    """Wait for another driver to leave a folder, where nobody is there to give a command again.

    It may be an earlier process of the same work, which was killed or cut off with its machine a moment ago: it ends,
    or loses the folder by its silence.

    Raises:
        UserError: it is still active after the time in which one that is not loses the folder.
    """
    deadline, told = time.monotonic() + STALE_S + WATCH_S, False
    while True:
        try:
            refuse_held(address)
            return
        except Held as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                log.info("waiting up to %.0f s: %s", STALE_S + WATCH_S, error)
            told = True
            time.sleep(PAUSE_S)


def own_key(folder: Folder) -> str:
    """Return the key of the run, sweep or average in a folder, made when it is first asked for; call it under the lock.

    Raises:
        UserError: it cannot be read or written.
    """
    content = folder.read_json(KEY)
    if content is None:
        content = {"key": uuid.uuid4().hex}
        folder.write_json(KEY, content)
    if "key" not in content:
        raise folder.damaged(KEY, "it names no key")
    return str(content["key"])
