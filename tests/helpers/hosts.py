"""Several hosts on this machine: each a set of namespaces with an address, a loopback, processes and files of its own.

Each host is a process that waits for the end of its input, and first in a process namespace: whatever ends it, even
kill -9 of pytest, the kernel ends everything on the host with it, then its network. Nothing is set up outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import namespaces
import processes
import psutil
from paths import ROOT

PORT = 6379
OWN = "own"
"""Folder of which each host sees another one, below the folder that all hosts see."""
LIMIT_S = 3600.0
"""How long what is started on a host may run: MLflow's server does for all tests of a file."""
UP_S = 120.0
"""How long a node may take to join its cluster."""


@dataclass
class Host:
    """One of the hosts; `down` is as if its plug was pulled."""

    number: int
    network: Network
    holder: subprocess.Popen[bytes] = field(repr=False)
    inside: int
    """The host's first process, as this machine numbers it."""
    _later: threading.Timer | None = field(default=None, repr=False)
    """What is still to be done to it."""

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
        return namespaces.within(self.inside, words)

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
        self._in(seconds, self.unplug)
        return time.monotonic() + seconds

    def wait_for_end(self, words: str) -> None:
        """Wait until no process of the host has these words in its command."""
        deadline = time.monotonic() + UP_S
        while self.runs(words):
            assert time.monotonic() < deadline, f"{words} still runs after {UP_S:.0f} s"
            time.sleep(0.2)

    def runs(self, words: str) -> int:
        """Return how many processes of the host have these words in their command."""
        return sum(words in _words(process) for process in self.members())

    def cut(self) -> None:
        """Pull the cable."""
        self.network.ip("link", "set", f"port{self.number}", "down")

    def cut_for(self, seconds: float) -> threading.Timer:
        """Pull the cable, and plug it in again after so many seconds; the thread that is returned ends then."""
        self.cut()
        return self._in(seconds, lambda: self.network.ip("link", "set", f"port{self.number}", "up"))

    def _in(self, seconds: float, action: Callable[[], None]) -> threading.Timer:
        self._later = threading.Timer(seconds, action)
        self._later.start()
        return self._later

    def settle(self) -> None:
        """Wait until what was set for later, as by `drain` and `cut_for`, has happened."""
        if self._later is not None:
            self._later.join()

    def unplug(self) -> None:
        """Pull cable and plug: nobody is told that the host has ended."""
        self.cut()
        self.down()

    def down(self) -> None:
        """End the host with everything on it, at once."""
        if self._later is not None:
            self._later.cancel()  # of the hosts that are left at the end
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.inside, signal.SIGKILL)
        namespaces.end(self.holder)
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
            # As in a shell with the environment activated: the `python` of a job's driver is found there.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.hosts: list[Host] = []
        self._last = 0
        self._holder, self._switch = namespaces.hold([])
        self.ip("link", "add", "switch", "type", "bridge")
        self.ip("link", "set", "switch", "up")

    @property
    def head(self) -> str:
        """Address of the cluster whose head is host 1."""
        return f"10.77.0.1:{PORT}"

    def ip(self, *words: str) -> None:
        """Run `ip` on the switch."""
        namespaces.checked(namespaces.within(self._switch, ["ip", *words]))

    def add(self) -> Host:
        """Plug one more host in."""
        self._last += 1
        number = self._last
        own = self.folder / f"host-{number}"
        own.mkdir()
        holder, inside = namespaces.hold(namespaces.within(self._switch, []))
        host = Host(number, self, holder, inside)
        self.hosts.append(host)
        namespaces.checked(namespaces.within(inside, ["mount", "--bind", str(own), str(self.folder / OWN)]))
        boot = own / "boot_id"  # by which marey tells machines apart
        boot.write_text(f"{uuid.uuid4()}\n")
        namespaces.checked(namespaces.within(inside, ["mount", "--bind", str(boot), "/proc/sys/kernel/random/boot_id"]))
        # By the process id as the switch sees it, which is another one.
        seen = namespaces.seen_from(inside, depth=1)
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
            namespaces.checked(namespaces.within(inside, ["ip", *words]))
        return host

    def close(self) -> None:
        """End all hosts and the switch."""
        for host in list(self.hosts):
            host.down()
        namespaces.end(self._holder)


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """Plug hosts into a network of their own; skips the test where this machine does not allow namespaces.

    The folder is short, since the paths of Ray's sockets lie in it.
    """
    namespaces.skip_unless_possible()
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


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""
