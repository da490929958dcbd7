"""Ranges of local files, read as they are asked for."""

from __future__ import annotations

import os

from tasks.files import open_regular


class OpenFile:
    """A local file of which ranges are read, from any thread.

    It is not mapped into memory: a map of a file that is cut short in the meantime ends the process.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = -1
        self._descriptor = open_regular(path)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def __len__(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, start: int, end: int) -> bytes:
        """Return a range; OSError if the file ends before it."""
        content = os.pread(self._descriptor, end - start, start)
        while len(content) < end - start:  # a call reads 2 GB at most
            more = os.pread(self._descriptor, end - start - len(content), start + len(content))
            if not more:
                raise OSError(f"it ends at byte {start + len(content)}, before byte {end}")
            content += more
        return content


class FileRange:
    """A range of an open file, in place of its bytes: what is sliced is read."""

    def __init__(self, file: OpenFile, start: int, end: int) -> None:
        self._file, self._start, self._size = file, start, end - start

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        return self._file.read(self._start + start, self._start + max(start, stop))
