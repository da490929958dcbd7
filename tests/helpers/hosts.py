"""Several hosts on this machine: each a set of namespaces with an address, a loopback, processes and files of its own.

Each host is a process that waits for the end of its input, and first in a process namespace: whatever ends it, even
kill -9 of pytest, the kernel ends everything on the host with it, then its network. Nothing is set up outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes
import psutil
import pytest
from paths import ROOT

PORT = 6379
OWN = "own"
"""Folder of which each host sees another one, below the folder that all hosts see."""
LIMIT_S = 3600.0
"""How long what is started on a host may run: MLflow's server does for all tests of a file."""
UP_S = 120.0
"""How long a node may take to join its cluster."""
UNSHARED = ("--mount", "--net", "--pid", "--fork", "--mount-proc")


@dataclass
class Host:
    """One of the hosts; `down` is as if its plug was pulled."""

    number: int
    network: Network
    holder: subprocess.Popen[bytes] = field(repr=False)
    inside: int
    """The host's first process, as this machine numbers it."""
    _reclaim: threading.Timer | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The host's address, which the others reach."""
        return f"10.77.0.{self.number}"

    @property
    def own(self) -> Path:
        """What the host sees as its own folder, from outside."""
        return self.network.folder / f"host-{self.number}"

    def command(self, words: Sequence[object]) -> list[str]:
        """Return the command line that runs a command on the host."""
        return _within(self.inside, words)

    def environment(self, **variables: object) -> dict[str, str]:
        """Return the environment of a command on the host."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_W", "MLFLOW"))}
        return (
            kept
            | self.network.environment
            | {"TMPDIR": str(self.network.folder / OWN), "HOME": str(self.network.folder / OWN)}
            | {name: str(value) for name, value in variables.items()}
        )

    def run(self, words: Sequence[object], **variables: object) -> subprocess.CompletedProcess[str]:
        """Run a command on the host to its end."""
        return processes.run(self.command(words), cwd=ROOT, env=self.environment(**variables))

    @contextlib.contextmanager
    def started(self, words: Sequence[object], log: Path, **variables: object) -> Iterator[subprocess.Popen[Any]]:
        """Start a command on the host, which ends with the block and writes to a file."""
        command, environment = self.command(words), self.environment(**variables)
        with (
            log.open("wb") as output,
            processes.started(
                command, limit=LIMIT_S, cwd=ROOT, env=environment, stdout=output, stderr=output
            ) as process,
        ):
            yield process

    def start_ray(self, cpus: int = 1, **variables: object) -> None:
        """Start a node that joins the cluster of host 1, or is its head, and wait until it accepts work."""
        words: list[object] = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start"]
        words += [f"--node-ip-address={self.address}", f"--num-cpus={cpus}", "--num-gpus=0"]
        words += ["--object-store-memory=100000000", "--disable-usage-stats"]
        if self.number == 1:
            words += ["--head", f"--port={PORT}", f"--temp-dir={self.network.folder / OWN / 'ray'}"]
            words += [f"--dashboard-host={self.address}"]
        else:
            words += [f"--address={self.network.head}"]
        log, environment = self.own / "start.log", self.environment(**variables)
        with log.open("wb") as output:  # the node goes on: a pipe would not end
            done = subprocess.run(
                self.command(words), cwd=ROOT, env=environment, stdout=output, stderr=output, timeout=UP_S
            )
        assert done.returncode == 0, log.read_text()

    def members(self) -> list[psutil.Process]:
        """All processes of the host."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.inside).children(recursive=True)
        return []

    def drain(self, seconds: int) -> float:
        """Announce that the host is taken away in so many seconds, as a provider of spot machines does, and do so.

        Returns:
            When that will be, on the monotonic clock.
        """
        code = "import json, ray; ray.init(logging_level=40); print(json.dumps(ray.nodes()))"
        listed = self.network.hosts[0].run([sys.executable, "-c", code], RAY_ADDRESS=self.network.head)
        assert listed.returncode == 0, listed.stderr
        nodes = {node["NodeManagerAddress"]: node["NodeID"] for node in json.loads(listed.stdout.splitlines()[-1])}
        words: list[object] = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
        words += ["--node-id", nodes[self.address], "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
        words += ["--reason-message", "spot", "--deadline-remaining-seconds", seconds]
        done = self.network.hosts[0].run(words, RAY_ADDRESS=self.network.head)
        assert done.returncode == 0, done.stdout + done.stderr
        self._reclaim = threading.Timer(seconds, self.unplug)
        self._reclaim.start()
        return time.monotonic() + seconds

    def cut(self) -> None:
        """Pull the cable."""
        self.network.ip("link", "set", f"port{self.number}", "down")

    def unplug(self) -> None:
        """Pull cable and plug: nobody is told that the host has ended."""
        self.cut()
        self.down()

    def down(self) -> None:
        """End the host with everything on it, at once."""
        if self._reclaim is not None:
            self._reclaim.cancel()  # of the hosts that are left at the end
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.inside, signal.SIGKILL)
        _end(self.holder)
        self.network.hosts.remove(self)


class Network:
    """A switch, in a network namespace of its own, and the hosts that are plugged into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / OWN).mkdir()
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MAREY_WORK": str(folder / "work"),
        }
        self.hosts: list[Host] = []
        self._last = 0
        self._holder, self._switch = _hold([])
        self.ip("link", "add", "switch", "type", "bridge")
        self.ip("link", "set", "switch", "up")

    @property
    def head(self) -> str:
        """Address of the cluster whose head is host 1."""
        return f"10.77.0.1:{PORT}"

    def ip(self, *words: str) -> None:
        """Run `ip` on the switch."""
        _checked(_within(self._switch, ["ip", *words]))

    def add(self) -> Host:
        """Plug one more host in."""
        self._last += 1
        number = self._last
        own = self.folder / f"host-{number}"
        own.mkdir()
        holder, inside = _hold(_within(self._switch, []))
        host = Host(number, self, holder, inside)
        self.hosts.append(host)
        _checked(_within(inside, ["mount", "--bind", str(own), str(self.folder / OWN)]))
        # By the process id as the switch sees it, which is another one.
        seen = _seen_from(inside, depth=1)
        self.ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", seen)
        self.ip("link", "set", f"port{number}", "master", "switch", "up")
        for words in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{host.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", "10.77.0.254"],
            # As Docker leaves it on many machines: the same address on each, which leads to none.
            ["link", "add", "docker0", "type", "bridge"],
            ["address", "add", "172.17.0.1/16", "dev", "docker0"],
            ["link", "set", "docker0", "up"],
        ):
            _checked(_within(inside, ["ip", *words]))
        return host

    def close(self) -> None:
        """End all hosts and the switch."""
        for host in list(self.hosts):
            host.down()
        _end(self._holder)


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """Plug hosts into a network of their own; skips the test where this machine does not allow namespaces.

    The folder is short, since the paths of Ray's sockets lie in it.
    """
    _skip_unless_possible()
    folder = Path(tempfile.mkdtemp(prefix="hosts-", dir="/tmp"))
    made = None
    try:
        made = Network(folder)
        for _ in range(count):
            made.add()
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder)


def _skip_unless_possible() -> None:
    for tool in ("unshare", "nsenter", "ip", "ss", "mount"):
        if shutil.which(tool) is None:
            pytest.skip(f"hosts need `{tool}` (util-linux, iproute2)")
    for words in (["true"], ["ip", "link", "add", "probe", "type", "bridge"]):
        done = subprocess.run(["unshare", *_user(), *UNSHARED, *words], capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.skip(f"namespaces cannot be made here: {done.stderr.strip()}")


def _user() -> list[str]:
    return ["--user", "--map-root-user"] if os.geteuid() else []


def _hold(prefix: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Make namespaces; return the process that holds them, and the first one within them."""
    user = [] if prefix else _user()
    # `read` without a program of its own: it ends with this process, whose end of the pipe it reads.
    command = [*prefix, "unshare", *user, *UNSHARED, "sh", "-c", "echo ready; read _"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    inside = psutil.Process(holder.pid).children(recursive=True)[-1].pid
    return holder, inside


def _within(process: int, words: Sequence[object]) -> list[str]:
    user = ["--user", "--preserve-credentials"] if os.geteuid() else []
    kinds = ["--mount", "--net", "--pid"]
    return ["nsenter", f"--target={process}", *user, *kinds, f"--wdns={ROOT}", *map(str, words)]


def _seen_from(process: int, depth: int) -> str:
    status = Path(f"/proc/{process}/status").read_text()
    return re.search(r"^NSpid:\s+(.*)$", status, re.MULTILINE)[1].split()[-1 - depth]  # type: ignore[index]


def _checked(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def _end(holder: subprocess.Popen[bytes]) -> None:
    for stream in (holder.stdin, holder.stdout):
        if stream is not None:
            stream.close()
    try:
        holder.wait(processes.ENDING_S)
    except subprocess.TimeoutExpired:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait(processes.ENDING_S)
