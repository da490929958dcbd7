"""A real Slurm on hosts of their own: slurmctld on the first, a slurmd on each of the others, and jobs on them.

Without cgroups and without accounts: what Slurm is trusted with here is to start, signal, end and requeue jobs.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hosts
import pytest
from paths import ROOT

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
READY_S = 60.0
"""How long slurmctld and slurmd may take to find one another."""
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
POLL_S = 0.5


def skip_unless_installed() -> None:
    """Skip the test where Slurm is not installed."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install slurm-wlm)")


class Slurm:
    """The daemons, and the commands of a user who logs in to the first host."""

    def __init__(self, network: hosts.Network) -> None:
        self.network = network
        self.login, *self._nodes = network.hosts
        self._conf = network.folder / "slurm.conf"
        network.environment |= {"SLURM_CONF": str(self._conf)}

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """Run the daemons until the block ends; all nodes are ready in it."""
        own, names = self.network.folder / hosts.OWN, [_name(host) for host in self._nodes]
        account = getpass.getuser()
        nodes = [f"NodeName={_name(host)} NodeAddr={host.address} CPUs=1 RealMemory=1000" for host in self._nodes]
        self._conf.write_text(
            f"""ClusterName=marey
SlurmctldHost={socket.gethostname()}({self.login.address})
SlurmUser={account}
SlurmdUser={account}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=1
ReturnToService=2
StateSaveLocation={own / "slurmctld"}
SlurmctldPidFile={own / "slurmctld.pid"}
SlurmdSpoolDir={own / "slurmd"}
SlurmdPidFile={own / "slurmd.pid"}
{chr(10).join(nodes)}
PartitionName=all Nodes={",".join(names)} Default=YES MaxTime=INFINITE State=UP
"""
        )
        with contextlib.ExitStack() as stack:
            for host, words in [
                (self.login, [shutil.which("slurmctld"), "-D", "-i"]),
                *((host, [shutil.which("slurmd"), "-D", "-N", _name(host)]) for host in self._nodes),
            ]:
                (host.own / "slurmctld").mkdir()
                (host.own / "slurmd").mkdir()
                stack.enter_context(host.started(words, host.own / "slurm.log"))
            self._wait(lambda: self.run("sinfo", "-h", "-o", "%T").split() == ["idle"], READY_S, self._logs)
            yield

    def run(self, *words: object) -> str:
        """Return what a command of Slurm prints on the first host."""
        done = self.login.run(words)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def submit(self, script: str, *words: object, options: tuple[str, ...] = (), **variables: object) -> Job:
        """Submit one of our sbatch files from the checkout; its output goes to a file of the network's folder."""
        output = self.network.folder / f"{script}-{time.monotonic_ns()}.log"
        command = ["sbatch", "--parsable", f"--output={output}", *options, ROOT / f"cluster/slurm/{script}.sbatch"]
        done = self.login.run([*command, *words], **variables)
        assert done.returncode == 0, done.stderr
        return Job(self, int(done.stdout), output)

    def _logs(self) -> str:
        return "\n".join((host.own / "slurm.log").read_text() for host in self.network.hosts)

    @staticmethod
    def _wait(happened: Callable[[], object], limit: float, said: Callable[[], str]) -> None:
        deadline = time.monotonic() + limit
        while not happened():
            assert time.monotonic() < deadline, said()
            time.sleep(POLL_S)


class Job:
    """One job."""

    def __init__(self, slurm: Slurm, number: int, log: Path) -> None:
        self._slurm, self.number, self.log = slurm, number, log

    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def shows(self, field: str) -> str:
        """Return a field of `scontrol show job`."""
        shown = self._slurm.run("scontrol", "show", "job", self.number)
        return re.search(rf"\b{field}=(\S*)", shown)[1]  # type: ignore[index]

    def until(self, happened: Callable[[], object], limit: float) -> None:
        """Wait, so many seconds at most, for what is to happen while the job is not over."""

        def has() -> object:
            if happened():
                return True
            assert self.shows("JobState") not in OVER, self.said()
            return False

        self._slurm._wait(has, limit, self.said)

    def end(self, limit: float, code: str = "0:0") -> str:
        """Wait for its end, which must have this exit code; return what it has printed."""
        self._slurm._wait(lambda: self.shows("JobState") in OVER, limit, self.said)
        assert self.shows("ExitCode") == code, self.said()
        return self.said()


def _name(host: hosts.Host) -> str:
    return f"n{host.number}"


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[Slurm]:
    """Run Slurm with so many nodes; skips the test where it or namespaces are absent."""
    skip_unless_installed()
    with hosts.network(nodes + 1) as network:
        made = Slurm(network)
        with made.up():
            yield made
