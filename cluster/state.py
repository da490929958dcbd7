"""What `cluster up` notes of a local cluster in the workspace, and reading it without trusting it.

A workspace is often just the current folder, which may be anybody's, or have come in an archive: only notes of this
account are read, and they lead nowhere but to this machine and to folders that are provably of the same cluster.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from cluster import private, token
from cluster.errors import ClusterError
from cluster.own_file import OpenToOthersError, read_own

MARK = "workspace"
"""File in the cluster's private folder that names the workspace it belongs to."""
VARIABLE = "MAREY_CLUSTER"
"""Variable in the environment of a node's process that names the cluster's private folder."""


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
    """The file of the token."""
    temp: str
    """The private folder of the token and of Ray's sockets, logs and code."""
    nodes: list[Node]
    """The head first."""

    @property
    def token(self) -> str:
        """The token that every request must carry."""
        if not private.is_ours(Path(self.temp)):
            raise ClusterError(f"the cluster's folder {self.temp} is gone: clear the rest away (`marey cluster down`)")
        return token.check(_read(Path(self.token_path)).decode("latin-1"), self.token_path)

    def processes(self) -> list[psutil.Process]:
        """Return the nodes' processes that are alive, in the order of the nodes."""
        found = [process_of(node, self.temp) for node in self.nodes]
        return [process for process in found if process is not None]

    def running(self) -> list[Node]:
        """Return the nodes whose process is alive."""
        return [node for node in self.nodes if process_of(node, self.temp)]


def folder_of(workspace: Path) -> Path:
    """Return where the lock and the logs of a workspace's cluster are."""
    return workspace / "cluster"


def last(workspace: Path) -> LocalCluster | None:
    """Return the cluster that `up` left in this workspace, running or not.

    Raises:
        ClusterError: what is noted there is damaged, or not of this account.
    """
    path = workspace / "cluster.json"
    try:
        text = _read(path)
    except FileNotFoundError:
        return None
    try:
        return _parse(json.loads(text), workspace)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ClusterError(
            f"{path} does not describe a cluster that was started here ({reason}): remove it; processes of a cluster "
            f"have {VARIABLE} in their environment"
        ) from error


def write(workspace: Path, cluster: LocalCluster) -> None:
    """Note the cluster, readable by this account alone."""
    # Not by `tasks.files`, which cluster may not import; and no cluster outlives a power cut, so nothing is synced.
    nodes = [{"pid": node.pid, "started": node.started} for node in cluster.nodes]
    document = {"address": cluster.address, "dashboard": cluster.dashboard, "temp": cluster.temp, "nodes": nodes}
    aside = workspace / "cluster.json.new"
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file, indent=2)
    aside.replace(workspace / "cluster.json")


def forget(workspace: Path) -> None:
    """Remove what `up` made: the note, and the private folder if it is marked as this workspace's."""
    cluster = last(workspace)
    if cluster is not None and is_marked(Path(cluster.temp), workspace):
        private.remove(Path(cluster.temp))
    (workspace / "cluster.json").unlink(missing_ok=True)


def mark(temp: Path, workspace: Path) -> None:
    """Note in a cluster's private folder which workspace it belongs to."""
    (temp / MARK).write_bytes(os.fsencode(workspace.resolve()))


def is_marked(temp: Path, workspace: Path) -> bool:
    """Return whether a folder is a private one that `up` has made for this workspace."""
    try:
        return private.is_ours(temp) and (temp / MARK).read_bytes() == os.fsencode(workspace.resolve())
    except OSError:
        return False


def _read(path: Path) -> bytes:
    """Return what is in a file of `cluster up`; ClusterError if it may be another's, FileNotFoundError if none is."""
    try:
        return read_own(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ClusterError(f"cannot read {path} ({error.strerror}): remove it") from error
    except OpenToOthersError as error:
        raise ClusterError(
            f"{path} is not a file that this account alone can read and write, as `marey cluster up` makes it: "
            "remove it, or set MAREY_WORK to a workspace of your own"
        ) from error


def started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def process_of(node: Node, temp: str) -> psutil.Process | None:
    """Return a node's process: one of this account, of that start, and of the cluster with that private folder."""
    if started(node.pid) != node.started:
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(node.pid)
        # A process that is just starting shows no environment yet, and one whose folder was removed no working folder.
        if process.uids().real == os.geteuid() and temp in (process.cwd(), process.environ().get(VARIABLE)):
            return process
    return None


def token_in(temp: str) -> str:
    """Return the file of the token in a cluster's private folder."""
    return str(Path(temp) / "token")


def log_of(workspace: Path, index: int) -> Path:
    """Return the log of a node."""
    return folder_of(workspace) / f"node-{index}.log"


def _parse(document: Any, workspace: Path) -> LocalCluster:
    if not isinstance(document, dict) or set(document) != {"address", "dashboard", "temp", "nodes"}:
        raise ValueError("not the fields of a cluster")
    if not private.is_private_name(Path(document["temp"])):
        raise ValueError("its folder for Ray has another name than ours")
    if not isinstance(document["nodes"], list):
        raise ValueError("no list of nodes")
    return LocalCluster(
        address=_loopback(document["address"], f"//{document['address']}"),
        dashboard=_loopback(document["dashboard"], document["dashboard"]),
        token_path=token_in(document["temp"]),
        temp=document["temp"],
        nodes=[_node(node, log_of(workspace, index)) for index, node in enumerate(document["nodes"])],
    )


def _node(document: Any, log: Path) -> Node:
    if not isinstance(document, dict) or set(document) != {"pid", "started"}:
        raise ValueError("a node is not a process")
    pid, ticks = document["pid"], document["started"]
    if type(pid) is not int or type(ticks) is not int or pid < 2:
        raise ValueError("a node is not a process")
    return Node(pid, ticks, str(log))


def _loopback(text: Any, url: str) -> str:
    parts = urlsplit(url)
    plain = f"{parts.scheme}://{parts.netloc}" if parts.scheme else f"//{parts.netloc}"
    if plain != url or parts.scheme not in ("", "http") or not parts.port or "@" in url:
        raise ValueError("an address is not one")
    if not ipaddress.ip_address(parts.hostname or "").is_loopback:
        raise ValueError("an address leads to another machine")
    return str(text)
