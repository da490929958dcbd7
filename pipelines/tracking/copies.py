"""Copies on this machine of files that the workspace keeps at an address; of files in a folder there are none."""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock

from pipelines.errors import UserError
from pipelines.tracking.workspace import local_folder, make_folder, workspace
from tasks.cache_folder import cache_folder
from tasks.data import folders, storage
from tasks.remote import reason


def local_path(address: str) -> Path:
    """Return where the copy of a file or folder lies on this machine; a local one itself."""
    if storage.is_local(address):
        return Path(address)
    root = workspace() + "/"
    if address.startswith(root):
        return local_folder() / address.removeprefix(root)
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    return cache_folder() / "copies" / digest / address.rpartition("/")[2]


def fetch_file(address: str) -> Path:
    """Return the path of a file on this machine, copied anew where it lies elsewhere.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, or the copy cannot be written.
    """
    path = local_path(address)
    if not storage.is_local(address):
        content = storage.read_bytes(address)
        make_folder(path.parent)
        storage.publish(str(path), content)
    return path


def fetch_folder(address: str, document: str) -> Path:
    """Return the path of a folder on this machine, copied where it lies elsewhere; a copy that is there is kept.

    Args:
        address: the folder.
        document: name of a file in it that differs where anything else does.

    Raises:
        UserError: it has no such file, cannot be read, or the copy cannot be written.
    """
    path = local_path(address)
    if storage.is_local(address):
        return path
    try:
        wanted = storage.read_bytes(storage.join(address, document))
    except FileNotFoundError:
        raise UserError(f"there is no {document} in {address}") from None
    make_folder(path.parent)
    try:
        with FileLock(f"{path}.lock", mode=0o600):  # another process may be copying, or about to read
            if not (path / document).is_file() or (path / document).read_bytes() != wanted:
                folders.fetch(address, path)
    except OSError as error:
        raise UserError(f"{address} cannot be copied to {path}: {reason(error)}") from error
    return path
