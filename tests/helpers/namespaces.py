"""Namespaces of Linux: sets of processes, with a network and mounts of their own, that end with whoever made them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import processes
import psutil
import pytest
from paths import ROOT

UNSHARED = ("--mount", "--net", "--pid", "--fork", "--mount-proc")


def skip_unless_possible() -> None:
    """Skip the test where this machine does not allow namespaces, or lacks a tool."""
    for tool in ("unshare", "nsenter", "ip", "ss", "mount"):
        if shutil.which(tool) is None:
            pytest.skip(f"hosts need `{tool}` (util-linux, iproute2)")
    for words in (["true"], ["ip", "link", "add", "probe", "type", "bridge"]):
        done = subprocess.run(["unshare", *_user(), *UNSHARED, *words], capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.skip(f"namespaces cannot be made here: {done.stderr.strip()}")


def _user() -> list[str]:
    return ["--user", "--map-root-user"] if os.geteuid() else []


def hold(prefix: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Make namespaces; return the process that holds them, and the first one within them."""
    user = [] if prefix else _user()
    # `read` without a program of its own: it ends with this process, whose end of the pipe it reads. And bash, which
    # as the first process takes what has lost its parent off the list when it ends, as an init does.
    command = [*prefix, "unshare", *user, *UNSHARED, "bash", "-c", "echo ready; read _"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    inside = psutil.Process(holder.pid).children(recursive=True)[-1].pid
    return holder, inside


def within(process: int, words: Sequence[object]) -> list[str]:
    """Return the command line that runs a command in the namespaces of a process."""
    user = ["--user", "--preserve-credentials"] if os.geteuid() else []
    kinds = ["--mount", "--net", "--pid"]
    return ["nsenter", f"--target={process}", *user, *kinds, f"--wdns={ROOT}", *map(str, words)]


def seen_from(process: int, depth: int) -> str:
    """Return the number of a process as it is that many process namespaces further out than its own."""
    status = Path(f"/proc/{process}/status").read_text()
    return re.search(r"^NSpid:\s+(.*)$", status, re.MULTILINE)[1].split()[-1 - depth]  # type: ignore[index]


def checked(words: list[str]) -> None:
    """Run a command, which must end well."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def end(holder: subprocess.Popen[bytes]) -> None:
    """End the process that holds namespaces, and with it all that is in them."""
    for stream in (holder.stdin, holder.stdout):
        if stream is not None:
            stream.close()
    try:
        holder.wait(processes.ENDING_S)
    except subprocess.TimeoutExpired:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait(processes.ENDING_S)
