"""Whole folders between this machine and a remote file system."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tasks.data import storage


def upload(local: Path, folder: str, last: str = "") -> None:
    """Copy the files of a local folder, and of those in it, to a remote one; each appears whole.

    Args:
        local: the local folder.
        folder: the remote one.
        last: name of the file that comes last: who finds it finds all.

    Raises:
        UserError: one cannot be written.
    """
    for file in sorted(local.rglob("*"), key=lambda file: (file.name == last, file)):
        if file.is_file():
            storage.publish(storage.join(folder, file.relative_to(local).as_posix()), file)


def fetch(folder: str, local: Path) -> None:
    """Copy the files of a remote folder to a local one, which is replaced, and appears when it is whole.

    Raises:
        OSError: it cannot be written here.
        UserError: there is no such folder, or it cannot be read.
    """
    with tempfile.TemporaryDirectory(dir=local.parent) as scratch:
        aside = Path(scratch, local.name)
        aside.mkdir()
        for name, is_folder in storage.entries(folder):
            if not is_folder:
                storage.fetch(storage.join(folder, name), aside / name)
        shutil.rmtree(local, ignore_errors=True)
        aside.replace(local)
