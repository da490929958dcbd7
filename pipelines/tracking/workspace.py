"""Where runs, checkpoints and `mlflow.db` live by default, and who may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipelines.errors import UserError
from tasks.data import storage
from tasks.remote import reason


def workspace() -> Path:
    """Return the absolute path of the workspace: MAREY_WORK, else `marey-work` in the current folder.

    Raises:
        UserError: the current folder has been deleted.
    """
    given = os.environ.get("MAREY_WORK") or "marey-work"
    try:
        return Path(storage.absolute(given)).absolute()
    except OSError as error:
        raise UserError(
            f"the workspace {given} cannot be found ({error}): set MAREY_WORK to an absolute path"
        ) from error


def make_folder(folder: Path, root: Path | None = None) -> Path:
    """Make a folder of a workspace, and what is missing above it, for their owner alone; return it.

    Args:
        folder: the workspace or a folder in it.
        root: the workspace; None for the one of the environment. Where its owner made it writable for its group, so are
            the folders in it.

    Raises:
        UserError: it cannot be made or written.
    """
    root = root or workspace()
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
        raise UserError(
            f"the workspace {root} cannot be used ({folder}: {reason(error)}): set MAREY_WORK to a folder of yours"
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


def shared(folder: Path) -> bool:
    """Return whether a folder was made writable for its group, but not for everyone, as /tmp is."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IWGRP) and not mode & stat.S_IWOTH
