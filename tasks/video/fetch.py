"""Videos as files that FFmpeg can open: where they are, or copied from elsewhere."""

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
    """Keeps the last file that was copied: pieces of a long video are asked for one after the other.

    The copy has no name, so that it is gone with its process, however that ends.
    """

    def __init__(self) -> None:
        self._uri: str | None = None
        self._file: IO[bytes] | None = None

    def path(self, uri: str) -> str:
        """Path of the copy of a URL, until the next call; errors as `local`."""
        if self._file is None or self._uri != uri:
            self.clear()
            with tempfile.TemporaryDirectory(prefix="marey-") as folder:
                path = os.path.join(folder, "video")
                _copy(uri, path)
                self._file = open(path, "rb")  # noqa: SIM115 - held open, it outlives its name
            self._uri = uri
        return f"/proc/self/fd/{self._file.fileno()}"

    def clear(self) -> None:
        """Let the copy go."""
        if self._file is not None:
            self._file.close()
        self._uri = self._file = None


@contextmanager
def local(uri: str, copies: Copies | None = None) -> Iterator[str]:
    """Give a path that FFmpeg can open; a copy stays in `copies`, or is removed at the end.

    Raises:
        VideoError: missing, empty, unreadable (no regular file), io.
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
        nowhere = error.errno in (errno.ELOOP, errno.ENAMETOOLONG)  # no later attempt finds it either
        raise VideoError("missing" if nowhere else "io", str(error)) from error
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
        raise VideoError("unreadable", f"{path} is no regular file")
    if status.st_size == 0:
        raise VideoError("empty", f"{path} has no bytes")


def unopened(error: UserError) -> VideoError:
    """What an address that fsspec cannot open makes of a video."""
    # A package that this worker lacks another one may have; a protocol that fsspec does not know stays unknown.
    return VideoError("io" if isinstance(error.__cause__, ImportError) else "unreadable", str(error))


def _copy(uri: str, path: str) -> None:
    try:
        system, remote = open_url(uri)
        with os_errors():
            system.get_file(remote, path)
    except FileNotFoundError:
        raise VideoError("missing", f"{uri} does not exist") from None
    except ValueError as error:  # no address of that protocol
        raise VideoError("unreadable", f"{uri} cannot be opened: {error}") from error
    except OSError as error:
        raise VideoError("io", f"{uri}: {reason(error)}") from error
    except UserError as error:
        raise unopened(error) from error
    if os.path.getsize(path) == 0:
        raise VideoError("empty", f"{uri} has no bytes")
