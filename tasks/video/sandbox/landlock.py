"""Landlock: a process gives up files, TCP, and signals to processes outside (constants of linux/landlock.h)."""

from __future__ import annotations

import ctypes
import os

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on every processor
_GET_VERSION = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Version of the interface -> how many rights on files it knows, each a bit from the lowest."""
_TCP = 0b11  # bind and connect, from version 4
_SCOPES = 0b11  # abstract sockets and signals, from version 6


def restrict(libc: ctypes.CDLL, *, reads: bool) -> int:
    """Forbid this thread, and those it starts, whatever the kernel's version knows.

    Args:
        libc: with `use_errno`; no_new_privs is set.
        reads: leave reading of files and folders allowed.

    Returns:
        The version.

    Raises:
        OSError: the kernel has no landlock, or has it turned off.
    """
    version = _called(libc, _CREATE_RULESET, None, 0, _GET_VERSION)
    count = max(count for since, count in _FILE_RIGHTS.items() if since <= version)
    files = (1 << count) - 1
    if reads:
        files &= ~(_READ_FILE | _READ_DIR)
    handled = (ctypes.c_uint64 * 3)(files, _TCP, _SCOPES)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _called(libc, _CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(size), 0)
    try:
        _called(libc, _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _called(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
