"""The workspace: where runs, checkpoints and `mlflow.db` live by default, and who may read them.

It is a folder, or an address of any file system that fsspec and Ray's storage path take, such as `s3://bucket/path`.
Then each machine has a folder in its cache in which files have the same names as in the workspace: what is made of
several files is written there and uploaded, and what is read as files is fetched to there.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from tasks.cache_folder import VARIABLE as CACHE
from tasks.cache_folder import cache_folder
from tasks.data import folders, storage
from tasks.remote import open_url, reason, refuse_credentials

PRIVATE = ("http", "https", "memory", "data")
"""File systems that cannot be written, or that each process has for itself."""


def workspace() -> str:
    """Return the workspace, MAREY_WORK, else `marey-work` in the current folder: an absolute path, or an address.

    Raises:
        UserError: the current folder has been deleted, or the address cannot be that of a workspace.
    """
    given = os.environ.get("MAREY_WORK") or "marey-work"
    try:
        place = storage.absolute(given)
    except OSError as error:
        raise UserError(
            f"the workspace {given} cannot be found ({error}): set MAREY_WORK to an absolute path"
        ) from error
    if storage.is_local(place):
        return place
    refuse_credentials(place)
    if place.partition("://")[0] in PRIVATE:
        raise UserError(
            f"the workspace {place} cannot be written by several machines: set MAREY_WORK to a folder, or to s3://..."
        )
    return place


def local_folder() -> Path:
    """Return the workspace if it is a folder, else this machine's folder of it in the cache; nothing is made."""
    place = workspace()
    if storage.is_local(place):
        return Path(place)
    name = re.sub(r"[^\w.-]+", "-", place.partition("://")[2])[-40:].strip("-")
    return cache_folder() / "workspaces" / f"{hashlib.sha256(place.encode()).hexdigest()[:12]}-{name}"


def address_of(file: Path) -> str:
    """Return where the workspace keeps a file or folder below `local_folder()`; in a folder this is the same."""
    if storage.is_local(workspace()):
        return str(file)
    return storage.join(workspace(), file.relative_to(local_folder()).as_posix())


def upload(folder: Path) -> None:
    """Store a finished folder below `local_folder()` in the workspace, where that is another place."""
    if not storage.is_local(workspace()):
        folders.upload(folder, address_of(folder))


def make_workspace(place: str | Path) -> None:
    """Make the folder of a workspace where it is missing, or write to its address.

    Raises:
        UserError: it cannot be made or written.
    """
    if storage.is_local(str(place)):
        make_folder(Path(place), Path(place))
        return
    probe = storage.join(str(place), f".probe-{secrets.token_hex(4)}")
    try:
        storage.publish(probe, b"")
    except NotImplementedError:
        raise UserError(f"the workspace {place} cannot be written: set MAREY_WORK to another") from None
    storage.remove(probe)


def ray_storage(folder: str) -> dict[str, Any]:
    """Return the settings by which Ray Train and Tune store below a folder or address; loads pyarrow.

    A remote file system is the one that all of marey uses, so that its settings are the same for both.
    """
    if storage.is_local(folder):
        return {"storage_path": folder}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    system, path = open_url(folder)
    return {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(system))}


def make_folder(folder: Path, root: Path | None = None) -> Path:
    """Make a folder of a workspace, and what is missing above it, for their owner alone; return it.

    Args:
        folder: the workspace or a folder in it.
        root: the workspace; None for `local_folder()`. Where its owner made it writable for its group, so are the
            folders in it.

    Raises:
        UserError: it cannot be made or written.
    """
    root = root or local_folder()
    missing = []
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            break
        missing.append(place)
    try:
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            place.chmod(0o2770 if root in place.parents and shared(root) else 0o700)
        if not folder.is_dir():
            raise NotADirectoryError("it is a file")
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("no permission, or a disk that is read-only")
    except OSError as error:
        variable = "MAREY_WORK" if storage.is_local(workspace()) else CACHE
        raise UserError(
            f"the workspace {root} cannot be used ({folder}: {reason(error)}): set {variable} to a folder of yours"
        ) from error
    return folder


def make_file(file: Path, *, tighten: bool) -> None:
    """Make an empty file where there is none, which its owner alone may read, or in a shared folder its group.

    Args:
        file: the file.
        tighten: take away what others may do with a file that exists.

    Raises:
        UserError: it cannot be made or written.
    """
    mode = 0o660 if shared(file.parent) else 0o600
    try:
        there = file.exists()
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, mode)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {reason(error)}") from error
    try:
        status = os.fstat(descriptor)
        loose = tighten and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & ~mode
        if loose or not there:
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def mask_of(place: str | Path) -> int:
    """Return the umask with which files in a folder are its owner's alone, or in a shared one its group's as well."""
    folder = Path(place)
    return 0o007 if storage.is_local(str(place)) and folder.exists() and shared(folder) else 0o077


@contextmanager
def masked(place: str | Path) -> Iterator[None]:
    """Let what this process makes meanwhile have the modes of files in a folder, or below an address."""
    before = os.umask(mask_of(place))
    try:
        yield
    finally:
        os.umask(before)


def shared(folder: Path) -> bool:
    """Return whether a folder was made writable for its group, but not for everyone, as /tmp is."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IWGRP) and not mode & stat.S_IWOTH
