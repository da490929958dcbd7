"""Starting, watching and limiting the process that decodes. What it sends is data, whoever has written it."""

from __future__ import annotations

import logging
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tasks.video import messages
from tasks.video.errors import VideoError
from tasks.video.sandbox import Held
from tasks.video.sandbox.gate import Gate

_START = (
    "import sys; sys.path[:] = {path!r}; from tasks.video.decoder_child import serve; "
    "serve({descriptor}, shrink={shrink})"
)
_SEND_S = 10.0  # a process that reads nothing must not stop its parent
_START_S = 120.0  # the kernel is compiled if it never was on this machine
_PASSED = re.compile(
    r"PATH|HOME|TMPDIR|TZ|LANG|LANGUAGE|LC_\w+|LD_LIBRARY_PATH|LD_PRELOAD|XDG_CACHE_HOME|PYTHONHOME|PYTHONHASHSEED"
    r"|PYTHONDONTWRITEBYTECODE|PYTHONPYCACHEPREFIX|(?:NUMBA|OMP|KMP|OPENBLAS|MKL|MALLOC|GLIBC|OPENCV|DECORD)_\w+"
)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_KEPT_BYTES = 256 * 2**20
"""Memory that a process may keep from one video to the next; one that keeps more is replaced."""


_log = logging.getLogger(__name__)


class Child:
    """A process that decodes, from its start to its end."""

    def __init__(self, shrink: bool) -> None:
        """Start it, in about 0.3 s, or 0.8 s with the kernel that shrinks frames.

        Raises:
            VideoError: crash, timeout.
        """
        self.shrink = shrink
        self._gate: Gate | None = None
        self._pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Not multiprocessing's spawn, which would import the parent's main module: in Ray the whole worker.
        root = str(Path(__file__).resolve().parents[2])
        start = _START.format(path=[root, *sys.path], descriptor=theirs.fileno(), shrink=shrink)
        passed = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=passed | _ONE_THREAD,
        )
        theirs.close()
        self._pipe.settimeout(_SEND_S)
        try:
            self._wait(time.monotonic() + _START_S, f"the decoding process did not start within {_START_S:g} s", None)
            message, descriptors = self._received(descriptors=1)
            self.held = Held(**message)
            """Which parts of its sandbox hold."""
            self._gate = Gate(descriptors[0]) if descriptors else None
            self._own = self._before = self._data()
            _report(self.held)
        except BaseException as error:
            self.kill()
            if isinstance(error, TypeError | OSError):  # another message, or it died meanwhile
                raise VideoError("crash", f"the decoding process did not start: {error}") from error
            raise

    @property
    def has_gate(self) -> bool:
        """Whether it opens no file itself."""
        return self._gate is not None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_fresh(self) -> bool:
        """Return whether it uses hardly more memory than at its start."""
        with suppress(OSError):
            return self._data() <= self._own + _KEPT_BYTES
        return True  # it has died, which the request will notice

    def begin(self, processor_s: float) -> None:
        """Start to count memory, and processor time, which is limited from now on."""
        with suppress(OSError):  # it has died, which the next message will notice
            self._before = self._data()
            used = time.clock_gettime(~self.pid << 3 | 2)  # CPUCLOCK_SCHED of that process
            self._set(resource.RLIMIT_CPU, int(used + processor_s) + 1)

    def limit(self, *, memory: int, file: int) -> None:
        """Limit the memory that it may use beyond what it had at the beginning, and the files it writes, in bytes."""
        with suppress(OSError):
            self._set(resource.RLIMIT_DATA, self._before + memory)
            self._set(resource.RLIMIT_FSIZE, file)

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Send a message; VideoError (crash) if it has died."""
        try:
            messages.send(self._pipe, message, descriptors)
        except OSError as error:
            raise self._dead() from error

    def receive(self, deadline: float, late: str, input_path: str | None) -> dict[str, Any]:
        """Wait for a message, and give the process its input when it opens a file.

        Args:
            deadline: When to give up, by time.monotonic().
            late: What to say then.
            input_path: The only file that it may open; None for none.

        Raises:
            VideoError: crash (it has died, or sends nonsense), timeout, io (the input cannot be opened again).
        """
        self._wait(deadline, late, input_path)
        return self._received()[0]

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        if self._gate is not None:
            self._gate.close()
            self._gate = None

    def _wait(self, deadline: float, late: str, input_path: str | None) -> None:
        watched = select.poll()
        watched.register(self._pipe, select.POLLIN)
        if self._gate is not None:
            watched.register(self._gate, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            ready = dict(watched.poll(1000 * left)) if left > 0 else {}  # even if it sends one message after another
            if not ready:
                raise VideoError("timeout", late)
            if self._pipe.fileno() in ready:
                return
            assert self._gate is not None
            if not ready[self._gate.fileno()] & select.POLLIN:  # nobody is left inside
                watched.unregister(self._gate)
                continue
            try:
                self._gate.admit(input_path)
            except OSError as error:
                raise VideoError("io", f"the input cannot be opened: {error}") from error

    def _received(self, descriptors: int = 0) -> tuple[dict[str, Any], list[int]]:
        try:
            return messages.receive(self._pipe, descriptors)
        except messages.Nonsense as error:
            raise VideoError("crash", f"the decoding process sent nonsense: {error}") from error
        except (EOFError, OSError) as error:
            raise self._dead() from error

    def _dead(self) -> VideoError:
        """Return the error that says how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        status = self._process.returncode
        if status == -signal.SIGXCPU:
            return VideoError("timeout", "the decoding process took more processor time than it is given")
        how = "no status" if status is None else signal.Signals(-status).name if status < 0 else f"status {status}"
        return VideoError("crash", f"the decoding process ended ({how})")

    def _set(self, limit: int, value: int) -> None:
        hard = resource.prlimit(self.pid, limit)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(self.pid, limit, (soft, hard))

    def _data(self) -> int:
        """Return its private memory that can be written, as RLIMIT_DATA counts it."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[5]
        return int(pages) * resource.getpagesize()


@cache
def _report(held: Held) -> None:
    """Say, once in this process, if the sandbox has gaps."""
    if not held.is_whole:
        _log.warning("decoding has no whole sandbox here (%s): decode videos from strangers in a container", held)
