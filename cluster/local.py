"""A real Ray cluster of several nodes on this machine: `ray start` processes on loopback, behind a token."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from cluster import dashboard, logs, ports, token
from cluster.errors import ClusterError

# Not 127.0.0.1, which Ray replaces by the machine's outside address.
HOST = "127.0.0.2"
START_SECONDS = 180.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Node:
    """The `ray start` process of a node; its start time distinguishes it from a later process of the same id."""

    pid: int
    started: int
    """Clock ticks since boot, as in /proc/PID/stat: setting the clock does not change them."""
    log: str


@dataclass(frozen=True)
class LocalCluster:
    """The last cluster started here, as `cluster.json` in the workspace describes it."""

    address: str
    """`host:port` of the head, for RAY_ADDRESS."""
    dashboard: str
    """URL of the dashboard, which also accepts jobs."""
    token_path: str
    temp: str
    """Ray's folder of sockets and logs; below /tmp, because the path of a socket has at most 107 bytes."""
    nodes: list[Node]
    """The head first."""

    @property
    def token(self) -> str:
        """The token that every request must carry."""
        return Path(self.token_path).read_text()

    def running(self) -> list[Node]:
        """Return the nodes whose process is alive."""
        return [node for node in self.nodes if _process(node)]


def last(workspace: Path) -> LocalCluster | None:
    """Return the cluster that `up` left in this workspace, running or not."""
    try:
        state = json.loads((workspace / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return LocalCluster(**(state | {"nodes": [Node(**node) for node in state["nodes"]]}))


def current(workspace: Path) -> LocalCluster | None:
    """Return the cluster of this workspace, unless none of its processes is alive."""
    cluster = last(workspace)
    return cluster if cluster and cluster.running() else None


def up(workspace: Path, nodes: int, cpus_per_node: int | None = None) -> LocalCluster:
    """Start a cluster, and return it once all its nodes are alive and it accepts jobs.

    The head gets all GPUs: Ray nodes on one machine do not share them.

    Args:
        workspace: folder of the state file, the token and the nodes' logs.
        nodes: number of nodes, including the head.
        cpus_per_node: None divides this machine's CPUs, with at least one per node.

    Raises:
        ClusterError: a cluster is already running, or a node does not start; nothing is left running then.
    """
    if nodes < 1:
        raise ClusterError(f"--local must be at least 1, not {nodes}")
    folder = workspace / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / "lock"):
        if running := current(workspace):
            raise ClusterError(
                f"a local cluster of {len(running.nodes)} nodes is already running at {running.address}: "
                "use it, or stop it first (`marey cluster down`)"
            )
        _forget(workspace)
        token.create(folder / "token")
        head_port, dashboard_port, client_port = ports.free(3)
        temp = tempfile.mkdtemp(prefix="marey-", dir="/tmp")
        address = f"{HOST}:{head_port}"
        cpus = cpus_per_node or max(1, (os.cpu_count() or 1) // nodes)
        # Ray would give 30 % of the memory to the object store of each node.
        store = max(80 * 2**20, int(psutil.virtual_memory().available * 0.3 / nodes))
        common = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={HOST}"),
            *(f"--num-cpus={cpus}", f"--object-store-memory={store}", "--dashboard-agent-listen-port=0"),
            *("--min-worker-port=0", "--max-worker-port=0"),  # the default range is the same for every node
        ]
        head = [
            *("--head", f"--port={head_port}", f"--temp-dir={temp}", f"--ray-client-server-port={client_port}"),
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"),
        ]
        state: dict[str, Any] = {
            "address": address,
            "dashboard": f"http://127.0.0.1:{dashboard_port}",
            "token_path": str(folder / "token"),
            "temp": temp,
        }
        cluster = LocalCluster(**state, nodes=[])
        try:
            for index in range(nodes):
                role = [f"--address={address}", "--num-gpus=0"] if index else head
                cluster.nodes.append(_start([*common, *role], folder / f"node-{index}.log", folder))
                # At once, so that `down` finds what this process started, whatever happens to it.
                _write(workspace, cluster)
                # One after another: Ray gives a node 30 s to register, too little for several on few cores.
                _wait(cluster, index + 1)
        except BaseException:
            _stop(cluster)
            _forget(workspace)
            raise
    return cluster


def down(workspace: Path) -> int:
    """Stop exactly the processes that `up` started, and return how many nodes they were."""
    cluster = last(workspace)
    if cluster is None:
        return 0
    running = len(cluster.running())
    _stop(cluster)
    _forget(workspace)
    return running


def _start(command: list[str], log: Path, folder: Path) -> Node:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = inherited | {
        # A job starts as `python`, which must be this one.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    # Not in the user's folder, which may hold packages of our names.
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Node(process.pid, _started(process.pid) or 0, str(log))


def _wait(cluster: LocalCluster, nodes: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for index, node in enumerate(cluster.nodes):
            if not _process(node):
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


def _process(node: Node) -> psutil.Process | None:
    return psutil.Process(node.pid) if _started(node.pid) == node.started else None


def _started(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _stop(cluster: LocalCluster) -> None:
    # Workers first: they complain when the head stops first. Their children are listed while they have a parent.
    nodes = [process for node in reversed(cluster.nodes) if (process := _process(node))]
    family = []
    for process in nodes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
            process.terminate()
    _, alive = psutil.wait_procs([*nodes, *family], timeout=STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)


def _write(workspace: Path, cluster: LocalCluster) -> None:
    path = workspace / "cluster.json"
    # Not by `tasks.files`, which cluster may not import; and no cluster outlives a power cut, so nothing is synced.
    aside = path.with_suffix(".json.new")
    aside.write_text(json.dumps(asdict(cluster), indent=2) + "\n")
    aside.replace(path)


def _forget(workspace: Path) -> None:
    if cluster := last(workspace):
        shutil.rmtree(cluster.temp, ignore_errors=True)
    (workspace / "cluster.json").unlink(missing_ok=True)
    (workspace / "cluster" / "token").unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        held = FileLock(path, blocking=False).acquire()
    except Timeout as error:
        raise ClusterError("another `marey cluster up` is starting a cluster in this workspace: wait for it") from error
    with held:
        yield
