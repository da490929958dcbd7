"""A real Ray cluster of several nodes on this machine: `ray start` processes on loopback, behind a token."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cluster import dashboard, logs, ports, private, ray_internals, state, token
from cluster.errors import ClusterError
from cluster.ray_internals import LOOPBACK
from cluster.state import LocalCluster as LocalCluster
from cluster.state import Node
from cluster.state import last as last
from cluster.waiting import waiting

START_SECONDS = 180.0
STOP_SECONDS = 20.0


def current(workspace: Path) -> LocalCluster | None:
    """Return the cluster of this workspace, unless none of its processes is alive."""
    cluster = last(workspace)
    return cluster if cluster and cluster.running() else None


def up(workspace: Path, nodes: int, cpus_per_node: int | None = None) -> LocalCluster:
    """Start a cluster, and return it once all its nodes are alive and it accepts jobs.

    The head gets all GPUs: Ray nodes on one machine do not share them.

    Args:
        workspace: folder of the note about the cluster and the nodes' logs.
        nodes: number of nodes, including the head.
        cpus_per_node: None divides this machine's CPUs, with at least one per node.

    Raises:
        ClusterError: a cluster is already running, or a node does not start; nothing is left running then.
    """
    if nodes < 1:
        raise ClusterError(f"--local must be at least 1, not {nodes}")
    folder = _folder(workspace)
    with _lock(folder / "lock"):
        if running := current(workspace):
            number = len(running.nodes)
            raise ClusterError(
                f"a local cluster of {number} node{'s' * (number > 1)} is already running at {running.address}: "
                "use it, or stop it first (`marey cluster down`)"
            )
        state.forget(workspace)
        own = private.make()
        state.mark(own.path, workspace)
        head_port, dashboard_port = ports.free(2)
        cluster = LocalCluster(
            address=f"{LOOPBACK}:{head_port}",
            dashboard=f"http://{LOOPBACK}:{dashboard_port}",
            token_path=state.token_in(str(own.path)),
            temp=str(own.path),
            nodes=[],
        )
        token.create(Path(cluster.token_path))
        try:
            for index in range(nodes):
                log = state.log_of(workspace, index)
                cluster.nodes.append(_start(_command(cluster, own.ray, nodes, cpus_per_node), log, own))
                # At once, so that `down` finds what this process started, whatever happens to it.
                state.write(workspace, cluster)
                # One after another: Ray gives a node 30 s to register, too little for several on few cores.
                with waiting(f"node {index + 1} of {nodes} to start"):
                    _wait(cluster, index + 1)
        except BaseException:
            _stop(cluster)
            state.forget(workspace)
            own.remove()
            raise
        own.release()
    return cluster


def down(workspace: Path) -> int:
    """Stop exactly the processes that `up` started, and return how many nodes they were."""
    cluster = last(workspace)
    if cluster is None:
        return 0
    running = len(cluster.running())
    with waiting("Ray's processes to end"):
        _stop(cluster)
    state.forget(workspace)
    return running


def _folder(workspace: Path) -> Path:
    """Make the folder of the lock and the logs, which this account alone can enter."""
    folder = state.folder_of(workspace)
    try:
        for each in (workspace, folder):
            each.mkdir(parents=True, mode=0o700, exist_ok=True)
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
            raise ClusterError(f"{folder} belongs to another account: set MAREY_WORK to a workspace of your own")
        folder.chmod(0o700)
    except OSError as error:
        raise ClusterError(
            f"cannot write {folder} ({error.strerror}): set MAREY_WORK to a workspace of your own"
        ) from error
    return folder


def _command(cluster: LocalCluster, ray_temp: Path, nodes: int, cpus_per_node: int | None) -> list[str]:
    """Return the command of the next node of a cluster of `nodes`."""
    cpus = cpus_per_node or max(1, (os.cpu_count() or 1) // nodes)
    common = [
        # By its path and with -P: neither the user's folder nor this package goes onto Ray's own path.
        *(sys.executable, "-P", ray_internals.__file__, "start", "--block", f"--node-ip-address={LOOPBACK}"),
        *(f"--num-cpus={cpus}", f"--object-store-memory={_store(nodes)}", "--dashboard-agent-listen-port=0"),
        *("--min-worker-port=0", "--max-worker-port=0"),  # the default range is the same for every node
    ]
    if cluster.nodes:
        return [*common, f"--address={cluster.address}", "--num-gpus=0"]
    head_port, dashboard_port = (address.rpartition(":")[2] for address in (cluster.address, cluster.dashboard))
    return [
        *common,
        *("--head", f"--port={head_port}", f"--temp-dir={ray_temp}", f"--ray-client-server-port={ports.free(1)[0]}"),
        *("--include-dashboard=true", f"--dashboard-host={LOOPBACK}", f"--dashboard-port={dashboard_port}"),
    ]


def _store(nodes: int) -> int:
    """Return the bytes of a node's object store: 30 % of the memory, as in Ray, but for all nodes together.

    Ray refuses to start with more than 10 GB where /dev/shm is smaller than that, and uses a file for less.
    """
    shared = max(9 * 10**9 * nodes, int(shutil.disk_usage("/dev/shm").free * 0.9))
    return max(80 * 2**20, int(min(psutil.virtual_memory().available * 0.3, shared) / nodes))


def _start(command: list[str], log: Path, own: private.PrivateFolder) -> Node:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = inherited | {
        # A job starts as `python`, which must be this one.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": state.token_in(str(own.path)),
        "RAY_USAGE_STATS_ENABLED": "0",
        state.VARIABLE: str(own.path),
    }
    log.unlink(missing_ok=True)
    # Not in the user's folder, which may hold packages of our names.
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=own.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[own.lock],
        )
    return Node(process.pid, state.started(process.pid) or 0, str(log))


def _wait(cluster: LocalCluster, nodes: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for index, node in enumerate(cluster.nodes):
            if not state.process_of(node, cluster.temp):
                raise ClusterError(f"node {index} did not start: {_reason(node)} (its log: {node.log})")
        with contextlib.suppress(ClusterError):  # not up yet
            if sum(node["state"] == "ALIVE" for node in dashboard.nodes(cluster.dashboard, cluster.token)) >= nodes:
                return
        time.sleep(0.2)
    node = cluster.nodes[-1]
    raise ClusterError(
        f"node {nodes - 1} was not ready within {START_SECONDS:.0f} s: {_reason(node)} (its log: {node.log})"
    )


def _reason(node: Node) -> str:
    return logs.reason(Path(node.log).read_text(errors="replace"))


def _stop(cluster: LocalCluster) -> None:
    # Workers first: they complain when the head stops first. Their children are listed while they have a parent.
    nodes = cluster.processes()[::-1]
    family = []
    for process in nodes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
            process.terminate()
    for process in family:  # a node waits for actors that outlive their driver, such as Ray Train's, without end
        with contextlib.suppress(psutil.NoSuchProcess):
            if ray_internals.is_worker(process.name()):
                process.terminate()
    psutil.wait_procs(nodes, timeout=STOP_SECONDS)
    alive = [process for process in [*nodes, *family] if process.is_running()]
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        held = FileLock(path, blocking=False).acquire()
    except Timeout as error:
        raise ClusterError("another `marey cluster up` is starting a cluster in this workspace: wait for it") from error
    with held:
        yield
