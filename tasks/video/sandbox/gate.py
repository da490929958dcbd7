"""The parent's side of a sandbox: it opens the one file that the process inside may read.

A process inside that opens a file, by whatever name, is suspended, and the kernel asks here (seccomp_unotify(2)). The
name is never looked at: the answer is the input, opened anew for reading, or that access is denied.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_RECEIVE, _ANSWER, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103  # ioctls of linux/seccomp.h
_NOTIFICATION_BYTES = 80


class Gate:
    """Holds the descriptor that a process in a sandbox has sent."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)  # closed with this object at the latest

    def fileno(self) -> int:
        """Return the descriptor, which is readable when a process waits."""
        return self._file.fileno()

    def admit(self, input_path: str | None) -> None:
        """Answer a process that waits: give it the file at a path, or deny access if there is none.

        Raises:
            OSError: the descriptor is not that of a gate, or the input cannot be opened anew.
        """
        number = self._waiting()
        if number is None:
            return
        if input_path is None:
            self._call(_ANSWER, struct.pack("QqiI", number, 0, -errno.EACCES, 0))
            return
        opened = os.open(input_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            added = self._call(_ADD_DESCRIPTOR, struct.pack("QIIII", number, 0, opened, 0, os.O_CLOEXEC))
        finally:
            os.close(opened)
        if added is not None:
            self._call(_ANSWER, struct.pack("QqiI", number, added, 0, 0))

    def _waiting(self) -> int | None:
        """Return the number of a process's question."""
        buffer = bytearray(_NOTIFICATION_BYTES)
        if self._call(_RECEIVE, buffer) is None:
            return None
        return int(struct.unpack_from("Q", buffer)[0])

    def _call(self, request: int, argument: bytes | bytearray) -> int | None:
        """Return what the kernel does; None if the process no longer waits, as a signal has interrupted it."""
        buffer = argument if isinstance(argument, bytearray) else bytearray(argument)
        try:
            return fcntl.ioctl(self._file, request, buffer, True)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Close it; whoever still waits is told that there is no such system call."""
        self._file.close()
