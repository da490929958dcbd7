"""Ray, and the cluster that verbs would work on: whether it answers, and what is installed there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from typing import Any

from cluster import dashboard, head, jobs, local, running, token
from cluster.attach import ROOT
from cluster.errors import ClusterError
from cluster.versions import Versions, differences, here, of_dashboard, of_head
from pipelines.doctor.finding import Finding, failed
from tasks.words import counted

NODES_SECONDS = 30.0
"""Time to join a cluster, and for its nodes to say what is installed there."""
DASHBOARD_SECONDS = 3.0
"""Time that a dashboard has to answer where no head does."""
SECONDS = NODES_SECONDS + 15.0


def library() -> Iterator[Finding]:
    """Load Ray."""
    import_module("ray")
    yield Finding("ray", "ok", f"{here().ray}, Python {here().python}, marey {version('marey')}")


def reachable(address: str | None) -> Iterator[Finding]:
    """Ask the cluster that verbs would join, and the one that would get jobs.

    Args:
        address: `host:port` of a head, or the URL of a dashboard; None takes RAY_ADDRESS, else the last `cluster up`.

    Raises:
        ClusterError: the address is none, or nothing answers there, or the token is refused.
    """
    from pipelines.tracking import local_folder

    given = address or os.environ.get("RAY_ADDRESS")
    if given in (None, "", "local"):
        mine = local.current(local_folder())
        if mine is None:
            yield Finding("cluster", "ok", "none: verbs work on this machine alone")
        else:
            yield _jobs(jobs.Target(mine.dashboard, mine.token, local=True))
        return
    assert given is not None
    if given.startswith(("http://", "https://")):
        yield _jobs(jobs.target(given, None, local_folder()))
        return
    given = running.latest() if given == "auto" else given
    try:
        head.probe(given)
    except ClusterError as error:
        yield _dashboard_instead(given, error)
        return
    yield from _joined(given)


def _jobs(target: jobs.Target) -> Finding:
    """Return what is known of a cluster by its dashboard, through which jobs go."""
    return _compared(f"{target.url} takes jobs", of_dashboard(target.url, target.token))


def _dashboard_instead(address: str, error: ClusterError) -> Finding:
    """Return why no head answers at an address, at which there may be a dashboard."""
    url = f"http://{address}"
    try:
        dashboard.get(url, "/api/version", token.read(), DASHBOARD_SECONDS)
    except ClusterError:
        return failed("cluster", str(error))
    return _jobs(jobs.Target(url, token.read(), local=False))


def _joined(address: str) -> Iterator[Finding]:
    """Compare the versions at a head, then join the cluster as verbs do."""
    if head.can_be_asked():
        found = _compared(f"{address} answers and takes the token", of_head(address))
        yield found
        if found.level == "error":
            return
    nodes = _nodes(address)
    if isinstance(nodes, str):
        yield failed("nodes", nodes)
        return
    ours = {"marey": version("marey"), "python": here().python}
    for node in nodes:
        wrong = [f"{name} {node.get(name)}" for name in ours if node.get(name) != ours[name]]
        missing = node.get("missing") or []
        if "error" in node:
            yield failed(f"node {node['ip']}", node["error"])
        elif missing:
            advice = f"install what marey needs there (pip install {' '.join(missing)})"
            yield Finding(f"node {node['ip']}", "error", f"{', '.join(missing)} missing", advice)
        elif wrong:
            expected = " and ".join(f"{name} {value}" for name, value in ours.items())
            yield Finding(f"node {node['ip']}", "error", f"has {', '.join(wrong)}", f"install {expected} there")
    if nodes and not any(node.get("error") or node.get("missing") for node in nodes):
        of_marey = ", ".join(sorted({str(node["marey"]) for node in nodes}))
        yield Finding("nodes", "ok", f"{counted(len(nodes), 'node')} with marey {of_marey}")


def _compared(found: str, there: Versions) -> Finding:
    found = f"{found}: Ray {there.ray}, Python {there.python}"
    if wrong := differences(there):
        return Finding("cluster", "error", found, wrong)
    return Finding("cluster", "ok", found)


def _nodes(address: str) -> list[dict[str, Any]] | str:
    """Return what every node has, or why it cannot be asked; in a process that can be ended when it takes too long."""
    command = [sys.executable, "-m", "pipelines.doctor.nodes", address]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=NODES_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"the nodes of {address} have not answered within {NODES_SECONDS:.0f} s: look at `ray status` there"
    try:
        answer: list[dict[str, Any]] | str = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return f"{address} cannot be joined ({' '.join(done.stderr.split())[-200:]}): look at Ray's logs"
    return answer
