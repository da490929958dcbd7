"""Files of a dataset on any fsspec file system; local paths go straight to the operating system."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tasks.errors import UserError


def is_local(path: str) -> bool:
    """Whether a path is one of this machine's."""
    return "://" not in path


def absolute(path: str) -> str:
    """Absolute path, or the URL without a slash at its end."""
    path = path.removeprefix("file://")
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path.rstrip("/")


def join(root: str, *names: str) -> str:
    """Path below a root."""
    return "/".join([root.rstrip("/"), *(name for name in names if name)])


def exists(path: str) -> bool:
    """Whether there is a file or folder."""
    if is_local(path):
        return os.path.exists(path)
    system, remote = _system(path)
    return bool(system.exists(remote))


def read_bytes(path: str) -> bytes:
    """Content of a file."""
    if is_local(path):
        with open(path, "rb") as file:
            return file.read()
    system, remote = _system(path)
    content: bytes = system.cat_file(remote)
    return content


def view(path: str) -> memoryview:
    """Content of a file; on a local file system a mapping of it, which takes no memory of its own."""
    if not is_local(path) or os.path.getsize(path) == 0:
        return memoryview(read_bytes(path))
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def entries(folder: str) -> list[tuple[str, bool]]:
    """Name and whether it is a folder, of each entry, sorted; symbolic links count as what they lead to.

    Raises:
        UserError: it does not exist, is no folder, or cannot be read.
    """
    try:
        if is_local(folder):
            with os.scandir(folder) as found:
                return sorted((entry.name, _leads_to_folder(entry)) for entry in found)
        system, remote = _system(folder)
        listed = system.ls(remote, detail=True)
        return sorted((item["name"].rstrip("/").rpartition("/")[2], item["type"] == "directory") for item in listed)
    except FileNotFoundError:
        raise UserError(f"{folder} does not exist.") from None
    except NotADirectoryError:
        raise UserError(f"{folder} is a file, where a folder is needed.") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}.") from error


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself leads nowhere, as one to a lost file does
            return False
        raise


def make_folder(path: str) -> None:
    """Make a folder and those above it; object stores need none."""
    if is_local(path):
        os.makedirs(path, exist_ok=True)


@contextmanager
def writing(path: str) -> Iterator[str]:
    """Give a local path to write to, and publish what stands there in one step when the block ends well.

    On a local file system: written aside, synced, renamed, and the folder synced. Elsewhere: one upload. Readers see
    the old file, or none, until then; after an exception too.
    """
    if is_local(path):
        folder, name = os.path.split(path)
        aside = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            yield aside
            _sync(aside)
            os.replace(aside, path)
        except BaseException:
            if os.path.exists(aside):
                os.unlink(aside)
            raise
        _sync(folder)
        return
    with tempfile.TemporaryDirectory(prefix="marey-") as folder:
        local = os.path.join(folder, "file")
        yield local
        system, remote = _system(path)
        system.put_file(local, remote)


def publish(path: str, content: bytes | os.PathLike[str]) -> None:
    """Write bytes, or a copy of a local file, in one step."""
    with writing(path) as aside:
        if isinstance(content, bytes):
            with open(aside, "wb") as file:
                file.write(content)
        else:
            shutil.copyfile(content, aside)


def sweep(folder: str) -> None:
    """Remove what interrupted writers left aside in a local folder; only under the folder's lock."""
    if is_local(folder) and os.path.isdir(folder):
        for name, is_folder in entries(folder):
            if not is_folder and name.startswith(".") and name.endswith(".tmp"):
                os.unlink(os.path.join(folder, name))


class Lock:
    """Makes a local output folder and keeps other drivers out of it; object stores are not locked.

    Raises:
        UserError: the folder cannot be made or written, or another process holds it.
    """

    def __init__(self, root: str) -> None:
        self.root = absolute(root)
        self._file: Any = None

    def __enter__(self) -> Lock:
        if not is_local(self.root):
            return self
        try:
            make_folder(self.root)
            self._file = open(join(self.root, ".lock"), "a")
        except OSError as error:
            raise UserError(f"{self.root} cannot be written: {error.strerror or error}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"{self.root} is being written by another marey process; wait for it to end.") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _system(path: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        system, remote = url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise UserError(f"{path} cannot be opened: {error}.") from error
    return system, remote
