"""Closing the sandbox, and which parts of it the kernel grants."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass

from tasks.video.sandbox import landlock, seccomp

_PR_SET_NO_NEW_PRIVS = 38
_ENDING_S = 1.0
_FILES = 64
"""Most descriptors that the process may hold."""


@dataclass(frozen=True)
class Held:
    """Which parts of the sandbox the kernel grants."""

    landlock: int
    """Version of its interface: the file system from 1, TCP from 4, signals and abstract sockets from 6; 0 without."""
    seccomp: bool
    """System calls are filtered: no new file to write, process, socket, or signal to another process."""
    input_only: bool
    """Whatever file the process opens, it gets its input."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is reached but the input, the parent and its own memory: seccomp does that alone."""
        return self.seccomp and self.input_only

    def __str__(self) -> str:
        if not (self.landlock or self.seccomp):
            return "none: the kernel offers neither landlock nor seccomp"
        parts = [f"landlock {self.landlock}"] * bool(self.landlock) + ["seccomp"] * self.seccomp
        return ", ".join(parts) + ("" if self.input_only else ", but any file can be read")


def enter() -> tuple[Held, int | None]:
    """Close the sandbox around this process, for good; it must have one thread.

    Returns:
        What holds, and the descriptor of the gate if opening a file is left to the parent.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = min(_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    alone = _is_alone()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    gate, filtered = None, True
    try:
        gate = seccomp.install(libc, gate=True)
    except OSError:  # too old, or a container's own filter has taken the kernel's only gate
        try:
            seccomp.install(libc, gate=False)
        except OSError:
            filtered = False
    version = 0
    if alone:  # it holds for the calling thread and those which that one starts
        with suppress(OSError):
            version = landlock.restrict(libc, reads=gate is None)
    return Held(version, filtered, gate is not None), gate


def _is_alone() -> bool:
    """Return whether this process has one thread; those that the imports have started may still be ending."""
    end = time.monotonic() + _ENDING_S
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
