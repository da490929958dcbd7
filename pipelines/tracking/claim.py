"""What makes a folder of the workspace one driver's, and its MLflow run one that is found again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

from pipelines.errors import UserError
from pipelines.tracking.folder import Folder
from pipelines.tracking.workspace import make_file, make_folder
from tasks.data import storage
from tasks.data.lock import FILE, FOLDER, STALE_S, Lock

KEY = "key.json"
"""File with the key, a name that no other run of any workspace has; MLflow's run carries it from its creation on."""
DEATH_S = STALE_S + 30
"""How long the lock of a driver on a machine that was lost may look as if it were held."""
PAUSE_S = 2.0


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


def await_free(address: str) -> None:
    """Wait for the driver before this one to leave a folder: it has died, which is known of other machines late.

    Raises:
        UserError: another driver works in the folder.
    """
    deadline = time.monotonic() + DEATH_S
    while True:
        try:
            refuse_held(address)
            return
        except UserError:
            if time.monotonic() > deadline:
                raise
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
