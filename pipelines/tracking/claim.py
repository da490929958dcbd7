"""What makes a folder of the workspace one driver's, and its MLflow run one that is found again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from pipelines.tracking.folder import Folder
from pipelines.tracking.workspace import make_file, make_folder
from tasks.data import storage
from tasks.data.lock import FILE, FOLDER, Lock

KEY = "key.json"
"""File with the key, a name that no other run of any workspace has; MLflow's run carries it from its creation on."""


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
