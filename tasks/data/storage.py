"""Files on any fsspec file system; local paths go straight to the operating system."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from tasks.data.ranges import FileRange, OpenFile
from tasks.errors import UserError
from tasks.files import open_regular, replacing
from tasks.remote import open_url, os_errors, reason

READERS = 16
"""Small files read concurrently; on an object store each costs a round trip."""

SMALL = 64 << 20
"""Most bytes of a JSON file of a dataset; the largest sidecars have a few."""

log = logging.getLogger(__name__)


def is_local(path: str) -> bool:
    """Return whether a path is on this machine, and not a URL."""
    return "://" not in path


def absolute(path: str) -> str:
    """Return the absolute path without `..`, or the URL without a slash at its end.

    A symbolic link stays in the path, unless `..` leads out of the folder that it stands for.

    Raises:
        UserError: the path is relative to a current folder that has been removed.
    """
    path = path.removeprefix("file://")
    if not is_local(path):
        return path.rstrip("/")
    path = os.path.expanduser(path)
    here = "/"
    for name in (path if path.startswith("/") else f"{_current_folder()}/{path}").split("/"):
        if name == "..":
            here = os.path.dirname(os.path.realpath(here) if os.path.islink(here) else here)
        elif name not in ("", "."):
            here = os.path.join(here, name)
    return here


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder has been removed: change to another one") from None


def join(root: str, *names: str) -> str:
    """Return the path of a name below a root; empty names are left out."""
    return "/".join([root.rstrip("/"), *(name for name in names if name)])


def exists(path: str) -> bool:
    """Return whether there is a file or folder."""
    if is_local(path):
        return os.path.exists(path)
    try:
        with at_url(path, "read") as (system, remote):
            system.info(remote)  # `exists` of fsspec returns False on every error, such as one of the network
    except FileNotFoundError:
        return False
    return True


def read_bytes(path: str, start: int | None = None, end: int | None = None) -> bytes:
    """Return the content of a file, or of its range [start, end), without transferring any other byte.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: a local file cannot be read.
        UserError: a remote file cannot be read.
    """
    if is_local(path):
        with open(path, "rb") as file:
            if start:
                file.seek(start)
            return file.read() if end is None else file.read(end - (start or 0))
    with at_url(path, "read") as (system, remote):
        content: bytes = system.cat_file(remote, start=start, end=end)
        return content


def read_each(paths: Iterable[str], ahead: int = READERS) -> Iterator[bytes]:
    """Yield the contents of files in order, of which up to `ahead` are in memory; errors as `read_bytes`."""
    with ThreadPoolExecutor(ahead, thread_name_prefix="marey-read") as pool:
        reading: deque[Future[bytes]] = deque()
        for path in paths:
            reading.append(pool.submit(read_bytes, path))
            if len(reading) == ahead:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


def read_small(path: str, limit: int = SMALL) -> bytes:
    """Return the content of a file that is known to be small, whoever wrote it.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: a local file cannot be read, or is not a regular one.
        ValueError: it is larger than `limit` bytes.
        UserError: a remote file cannot be read.
    """
    if is_local(path):
        with os.fdopen(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read() if size <= limit else b""
    else:
        content = read_bytes(path, 0, limit + 1)
        size = len(content)
    if size > limit:
        raise ValueError(f"it has more than the {limit:,} bytes that such a file may have")
    return content


def open_whole(path: str) -> FileRange | bytes:
    """Return a local file as a range that is read in parts, and the content of a remote one."""
    if not is_local(path):
        return read_bytes(path)
    file = OpenFile(path)
    return FileRange(file, 0, len(file))


def entries(folder: str, *, missing_ok: bool = False) -> list[tuple[str, bool]]:
    """Return the sorted entries of a folder: name, and whether it is a folder; symbolic links count as their targets.

    Args:
        folder: the folder.
        missing_ok: one that does not exist has no entries, as on an object store one whose last object was deleted.

    Raises:
        UserError: it does not exist, is not a folder, or cannot be read.
    """
    try:
        if is_local(folder):
            with os.scandir(folder) as found:
                return sorted((entry.name, _leads_to_folder(entry)) for entry in found)
        with at_url(folder, "read") as (system, remote):
            return sorted(_below(remote.rstrip("/"), system.ls(remote, detail=True)))
    except FileNotFoundError:
        if missing_ok:
            return []
        raise UserError(f"{folder} does not exist") from None
    except NotADirectoryError:
        raise UserError(f"{folder} is a file, not a folder") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {reason(error)}") from error


def folder_bytes(folder: str, ending: str) -> int:
    """Return the total size of the files in a folder whose names have this ending, by one listing."""
    if is_local(folder):
        with os.scandir(folder) as found:
            return sum(entry.stat().st_size for entry in found if entry.name.endswith(ending))
    with at_url(folder, "read") as (system, remote):
        return sum(item["size"] for item in system.ls(remote, detail=True) if item["name"].endswith(ending))


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself is a dead link too
            return False
        raise


def make_folder(path: str) -> None:
    """Create a folder and its parents; object stores need none."""
    if is_local(path):
        os.makedirs(path, exist_ok=True)


def require_writable(folder: str) -> None:
    """Refuse a local folder that cannot be written, or be made where it is missing; nothing is left there.

    Raises:
        UserError: with the reason.
    """
    if not is_local(folder):
        return
    existing = folder
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {reason(error)}") from error


@contextmanager
def writing(path: str, *, synced: bool = True) -> Iterator[str]:
    """Give a local path to write to, and publish the file written there in one step when the block ends well.

    Local files are replaced by `tasks.files`, remote ones by one upload. Until then, and after an exception, readers
    see the old file, or none. Unless `synced` nobody waits for a local disk.
    """
    if is_local(path):
        with replacing(path, synced=synced) as aside:
            yield aside
        return
    with tempfile.TemporaryDirectory(prefix="marey-") as folder:
        local = os.path.join(folder, "file")
        yield local
        with at_url(path, "written") as (system, remote):
            system.put_file(local, remote)


def publish(path: str, content: bytes | os.PathLike[str]) -> None:
    """Write bytes, or a copy of a local file, in one step."""
    with writing(path) as aside:
        if isinstance(content, bytes):
            with open(aside, "wb") as file:
                file.write(content)
        else:
            shutil.copyfile(content, aside)


def fetch(path: str, local: str | os.PathLike[str]) -> None:
    """Copy a remote file to a local one, of which a part stays if that is interrupted; errors as `read_bytes`."""
    with at_url(path, "read") as (system, remote):
        system.get_file(remote, os.fspath(local))


def remove(path: str) -> None:
    """Remove a file if it exists.

    Raises:
        OSError: a local file cannot be removed.
        UserError: a remote file cannot be removed.
    """
    if is_local(path):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
        return
    with suppress(FileNotFoundError), at_url(path, "removed") as (system, remote):
        system.rm_file(remote)


def remove_folder(folder: str) -> None:
    """Remove a folder and all that is in it, if it exists; what is written there meanwhile may stay."""
    if is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with suppress(FileNotFoundError), at_url(folder, "removed") as (system, remote):
        system.rm(remote, recursive=True)


def sweep(folder: str) -> None:
    """Remove unfinished files that interrupted writers left in a folder; call it only under the folder's lock.

    On S3 these are incomplete multipart uploads: no reader sees them, but they are paid for.
    """
    if not is_local(folder):
        _abort_uploads(folder)
    elif os.path.isdir(folder):
        for name, is_folder in entries(folder):
            if not is_folder and name.startswith(".") and name.endswith(".tmp"):
                os.unlink(os.path.join(folder, name))


def _abort_uploads(folder: str) -> None:
    system, remote = open_url(folder)
    if "s3" not in system.protocol:
        return
    bucket, prefix, _ = system.split_path(remote)
    page: dict[str, Any] = {}
    try:
        with os_errors():
            while not page or page.get("IsTruncated"):
                after = {name: page[f"Next{name}"] for name in ("KeyMarker", "UploadIdMarker") if f"Next{name}" in page}
                page = system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/", **after)
                for upload in page.get("Uploads", []):
                    key = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                    with suppress(FileNotFoundError):  # it has ended in the meantime
                        system.call_s3("abort_multipart_upload", Bucket=bucket, **key)
    except OSError as error:
        if not isinstance(error, PermissionError) and error.errno != errno.ENOSYS:
            raise UserError(f"{folder} cannot be written: {reason(error)}") from error
        log.warning(
            "incomplete uploads below %s cannot be removed (%s): let a lifecycle rule of the bucket do it",
            folder,
            reason(error),
        )


def _below(folder: str, listed: list[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    for item in listed:
        path, is_folder = item["name"].rstrip("/"), item["type"] == "directory"
        if path != folder:
            yield path.rpartition("/")[2], is_folder
        elif not is_folder and not item["name"].endswith("/"):
            raise NotADirectoryError(folder)
        # Otherwise it is the empty object with which consoles of object stores mark a folder.


@contextmanager
def at_url(path: str, done: str) -> Iterator[tuple[Any, str]]:
    """Give file system and path of a URL; errors become UserError, but for reading or removing an absent file.

    Args:
        path: the URL.
        done: what is done to the file, for the error: read, written or removed.
    """
    try:
        with os_errors():
            yield open_url(path)
    except ValueError as error:
        raise UserError(f"{path} cannot be {done}: {error}") from error
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if absent and done != "written":
            raise
        raise UserError(f"{path} cannot be {done}: {reason(error)}") from error
