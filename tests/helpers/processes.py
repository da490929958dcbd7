"""What tests start: processes that end with their block, and marks by which all others are found."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

SESSION = "MAREY_TEST_SESSION"
"""Variable that every process below one call of pytest inherits."""
PROCESS = "MAREY_TEST_PROCESS"
"""Variable that is different in each process of pytest-xdist, and inherited by what that process starts."""
LIMIT_S = 600.0
"""How long a command of a test may run; a machine under load takes many times what a quiet one does."""
ENDING_S = 30.0
"""How long what has been told to end may take."""
LOADED_S = 30.0
"""How long the program of a process may take to be loaded."""


def mark(name: str) -> str:
    """Set a variable that all processes started from now on inherit, and return its value."""
    os.environ[name] = uuid.uuid4().hex
    return os.environ[name]


def marked(name: str, value: str) -> list[psutil.Process]:
    """All living processes, other than this one, that were started with the variable at this value."""
    entry = f"{name}={value}".encode()
    found = []
    for process in psutil.process_iter():
        # What ends meanwhile, and what other users run, cannot be read.
        with contextlib.suppress(OSError, psutil.Error):
            started_with = _environment(process).split(b"\0")
            if process.pid != os.getpid() and entry in started_with and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _environment(process: psutil.Process) -> bytes:
    """Return the variables that it was started with.

    Its parent goes on while its program is still being loaded, when it shows neither variables nor arguments, as do
    zombies and the kernel's threads.
    """
    deadline = time.monotonic() + LOADED_S
    while True:
        variables = Path(f"/proc/{process.pid}/environ").read_bytes()
        if variables or process.cmdline() or process.status() == psutil.STATUS_ZOMBIE or process.ppid() in (0, 2):
            return variables
        assert time.monotonic() < deadline, f"{process} does not load its program"
        time.sleep(0.001)


def describe(process: psutil.Process) -> str:
    """Command of a process, and the test that started it."""
    try:
        by = re.search(rb"PYTEST_CURRENT_TEST=([^\0]*)", Path(f"/proc/{process.pid}/environ").read_bytes())
        test = by[1].decode() if by else "no test"
        return f"{process.pid} {' '.join(process.cmdline())[:120]}, started by {test}"
    except (OSError, psutil.Error):
        return f"{process.pid}, which has just ended"


def end(processes: Sequence[psutil.Process], patience: float = ENDING_S) -> None:
    """Terminate processes, and kill those that do not follow."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)


@contextlib.contextmanager
def started(command: Sequence[object], *, limit: float = LIMIT_S, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a command in a group of its own; neither it nor a child of it outlives the block, nor `limit` seconds.

    When the time is up the group is killed, so that whoever reads from it or waits for it goes on. A child that is
    still there although its parent ended by itself, not by a signal, fails the test.
    """
    process = subprocess.Popen([str(word) for word in command], start_new_session=True, **options)
    timer = threading.Timer(limit, _kill_group, (process.pid,))
    timer.daemon = True
    timer.start()
    try:
        yield process
        by_itself = process.poll() is not None and process.returncode >= 0
    except BaseException:
        by_itself = False
        raise
    finally:
        timer.cancel()
        left = _end_group(process, by_itself)
    assert not left, f"{command} left processes behind: {left}"


def run(command: Sequence[object], *, limit: float = LIMIT_S, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end, as `subprocess.run` does, but within `limit` seconds whatever it starts."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    with started(command, limit=limit, **options) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def find_line(stream: IO[str] | None, pattern: str) -> re.Match[str]:
    """First match of a pattern in the lines of a process; its end, which comes at the limit at the latest, fails."""
    assert stream is not None
    said = []
    for line in stream:
        if found := re.search(pattern, line):
            return found
        said.append(line)
    raise AssertionError(f"no line matches {pattern}: {''.join(said)}")


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _members(group: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _end_group(process: subprocess.Popen[Any], by_itself: bool) -> list[str]:
    """End what is left of a group; return what should have ended with its leader."""
    if by_itself:
        # Children such as a decoder notice the end of their parent and follow it at once, but not in no time.
        deadline = time.monotonic() + ENDING_S
        while (members := _members(process.pid)) and time.monotonic() < deadline:
            psutil.wait_procs(members, timeout=1)
    left = [describe(member) for member in _members(process.pid)] if by_itself else []
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # Not before: psutil would take the leader's exit code away.
    end(_members(process.pid))
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    assert not _members(process.pid)
    return left
