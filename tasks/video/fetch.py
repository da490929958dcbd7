"""Videos as local files that FFmpeg can open, copied from elsewhere if need be."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TypeVar

from tasks import remote
from tasks.errors import UserError
from tasks.files import NotRegularError, open_regular
from tasks.remote import open_url, os_errors, reason
from tasks.video.errors import VideoError

Result = TypeVar("Result")
_PATTERN = set("%*?[{")
"""Characters that make FFmpeg take a name for those of several images."""
_HEAD_BYTES = 4096
_LISTS = {
    "an HLS playlist": re.compile(rb"#EXTM3U"),
    "a list for FFmpeg's concat": re.compile(rb"ffconcat\b|file\s"),
    "an SDP description": re.compile(rb"v=0\s"),
    "a DASH manifest": re.compile(rb"<.*<MPD\b|<MPD\b", re.DOTALL),
    "an IMF composition": re.compile(rb"<.*<CompositionPlaylist\b", re.DOTALL),
    "an index of subtitles": re.compile(rb"# VobSub index"),
}
"""How files begin that make FFmpeg open others."""


@dataclass(frozen=True)
class LocalFile:
    """A file that is held open, so that it stays the same one while it is read."""

    descriptor: int
    path: str
    """A path of it that FFmpeg takes for a file, whatever characters its name has."""
    suffix: str
    """Ending of its name with the dot, by which FFmpeg recognises some formats."""

    @property
    def alias(self) -> str:
        """A path that is another one for another file, and for this one when it has changed; there is nothing at it."""
        status = os.fstat(self.descriptor)
        return f"/{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}{self.suffix}"


class Copies:
    """Keeps the last copied file, as pieces of a long video are requested one after another.

    The copy has no name, so that it is gone with its process, however that ends.
    """

    def __init__(self) -> None:
        self._uri: str | None = None
        self._file: IO[bytes] | None = None

    def descriptor(self, uri: str, timeout_s: float | None = None) -> int:
        """Return the descriptor of the copy of a URL, valid until the next call; errors as `local`."""
        if self._file is None or self._uri != uri:
            self.clear()
            self._file = within(timeout_s, uri, lambda: _copied(uri))
            self._uri = uri
        return self._file.fileno()

    def clear(self) -> None:
        """Delete the copy."""
        if self._file is not None:
            self._file.close()
        self._uri = self._file = None


@contextmanager
def local(uri: str, copies: Copies | None = None, timeout_s: float | None = None) -> Iterator[LocalFile]:
    """Open a video as a local file; a copy stays in `copies`, or is removed at the end.

    Raises:
        VideoError: missing, empty, unreadable (not a regular file, or a list of other files), io, timeout.
    """
    if not is_remote(uri):
        path = os.path.abspath(uri.removeprefix("file://"))  # absolute: "pipe:0" and "-" are names, not addresses
        descriptor = open_file(path)
        try:
            if _PATTERN & set(path):
                path = _path_of(descriptor)
            yield _checked(LocalFile(descriptor, path, _suffix(uri)), uri)
        finally:
            os.close(descriptor)
        return
    kept = copies or Copies()
    try:
        descriptor = kept.descriptor(uri, timeout_s)
        yield _checked(LocalFile(descriptor, _path_of(descriptor), _suffix(uri)), uri)
    finally:
        if copies is None:
            kept.clear()


def open_file(path: str) -> int:
    """Open a local file that is not empty for reading.

    Raises:
        VideoError: missing, empty, unreadable (not a regular file), io.
    """
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
        if regular:  # opening a named pipe would wait for ever, opening a device may do more than that
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError("missing", f"{path} does not exist") from None
    except OSError as error:
        nowhere = error.errno in (errno.ELOOP, errno.ENAMETOOLONG)  # a later attempt will not find it either
        raise VideoError("missing" if nowhere else "io", str(error)) from error
    if not regular:
        raise VideoError("unreadable", f"{path} is not a regular file")
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        os.close(descriptor)
        raise VideoError("empty", f"{path} is empty")
    return descriptor


def is_remote(uri: str) -> bool:
    """Return whether a video is anywhere but in the file system."""
    return "://" in uri and not uri.startswith("file://")


def within(timeout_s: float | None, uri: str, fetch: Callable[[], Result]) -> Result:
    """Return what `fetch` returns, or raises; VideoError (timeout) if it takes longer."""
    if timeout_s is None:
        return fetch()
    try:
        return remote.within(timeout_s, fetch)
    except remote.LateError as error:
        raise VideoError("timeout", f"{uri} was not fetched within {timeout_s:g} s") from error


def _copied(uri: str) -> IO[bytes]:
    with tempfile.TemporaryDirectory(prefix="marey-") as folder:
        path = os.path.join(folder, "video")
        _copy(uri, path)
        return open(path, "rb")


def read_file(path: str, most: int) -> bytes:
    """Read a local file, at most so many bytes of it.

    Raises:
        OSError: it cannot be opened or read.
        VideoError: unreadable (not a regular file, such as a named pipe).
    """
    try:
        descriptor = open_regular(path)
    except NotRegularError as error:
        raise VideoError("unreadable", f"{os.path.basename(path)} is not a regular file") from error
    with open(descriptor, "rb") as file:
        return file.read(most)


def _checked(file: LocalFile, uri: str) -> LocalFile:
    head = os.pread(file.descriptor, _HEAD_BYTES, 0).lstrip(b"\xef\xbb\xbf \t\r\n")
    for kind, beginning in _LISTS.items():
        if beginning.match(head):
            raise VideoError("unreadable", f"{uri} is {kind}, which names other files: give those")
    return file


def _path_of(descriptor: int) -> str:
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _suffix(uri: str) -> str:
    match = re.search(r"\.[A-Za-z0-9]{1,8}$", uri)
    return match[0] if match else ""


def unopened(error: UserError) -> VideoError:
    """Return the error of a video whose address fsspec cannot open."""
    # Another worker may have a package that this one lacks; a protocol unknown to fsspec stays unknown.
    return VideoError("io" if isinstance(error.__cause__, ImportError) else "unreadable", str(error))


def _copy(uri: str, path: str) -> None:
    try:
        system, place = open_url(uri)
        with os_errors():
            system.get_file(place, path)
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
