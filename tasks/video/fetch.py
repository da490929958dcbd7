"""Videos as local files that FFmpeg can open, copied from elsewhere if need be."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tasks.errors import UserError
from tasks.remote import open_url, os_errors, reason
from tasks.video.errors import VideoError


class Copies:
    """Keeps the last copied file, as pieces of a long video are requested one after another.

    The copy has no name, so that it is gone with its process, however that ends.
    """

    def __init__(self) -> None:
        self._uri: str | None = None
        self._file: IO[bytes] | None = None

    def path(self, uri: str) -> str:
        """Return the path of the copy of a URL, valid until the next call; errors as `local`."""
        if self._file is None or self._uri != uri:
            self.clear()
            with tempfile.TemporaryDirectory(prefix="marey-") as folder:
                path = os.path.join(folder, "video")
                _copy(uri, path)
                self._file = open(path, "rb")  # noqa: SIM115 - held open, it outlives its name
            self._uri = uri
        return f"/proc/self/fd/{self._file.fileno()}"

    def clear(self) -> None:
        """Delete the copy."""
        if self._file is not None:
            self._file.close()
        self._uri = self._file = None


@contextmanager
def local(uri: str, copies: Copies | None = None) -> Iterator[str]:
    """Give a path that FFmpeg can open; a copy stays in `copies`, or is removed at the end.

    Raises:
        VideoError: missing, empty, unreadable (not a regular file), io.
    """
    if "://" not in uri or uri.startswith("file://"):
        path = os.path.abspath(uri.removeprefix("file://"))  # absolute: "pipe:0" and "-" are names, not addresses
        _check(path)
        yield path
        return
    kept = copies or Copies()
    try:
        yield kept.path(uri)
    finally:
        if copies is None:
            kept.clear()


def _check(path: str) -> None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError("missing", f"{path} does not exist") from None
    except OSError as error:
        nowhere = error.errno in (errno.ELOOP, errno.ENAMETOOLONG)  # a later attempt will not find it either
        raise VideoError("missing" if nowhere else "io", str(error)) from error
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
        raise VideoError("unreadable", f"{path} is not a regular file")
    if status.st_size == 0:
        raise VideoError("empty", f"{path} is empty")


def unopened(error: UserError) -> VideoError:
    """Return the error of a video whose address fsspec cannot open."""
    # Another worker may have a package that this one lacks; a protocol unknown to fsspec stays unknown.
    return VideoError("io" if isinstance(error.__cause__, ImportError) else "unreadable", str(error))


def _copy(uri: str, path: str) -> None:
    try:
        system, remote = open_url(uri)
        with os_errors():
            system.get_file(remote, path)
    except FileNotFoundError:
        raise VideoError("missing", f"{uri} does not exist") from None
    except ValueError as error:  # not an address of that protocol
        raise VideoError("unreadable", f"{uri} cannot be opened: {error}") from error
    except OSError as error:
        raise VideoError("io", f"{uri}: {reason(error)}") from error
    except UserError as error:
        raise unopened(error) from error
    if os.path.getsize(path) == 0:
        raise VideoError("empty", f"{uri} is empty")
