"""`marey cluster up | status | down`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.local import LocalCluster


@dataclass(frozen=True, kw_only=True)
class Args:
    """Start, show or stop a real Ray cluster on this machine, to try jobs on."""

    action: Positional[Literal["up", "status", "down"]]
    local: int = 2
    """Nodes to start (up)."""
    cpus_per_node: int | None = None
    """CPUs of each node (up); by default this machine's, divided."""


def main(args: Args) -> int:
    """Do it, and print where things are."""
    from cluster import local
    from pipelines.tracking import workspace

    folder = workspace()
    if args.action == "up":
        cluster = local.up(folder, args.local, args.cpus_per_node)
        print(f"a cluster of {len(cluster.nodes)} nodes runs at {cluster.address}")
        print(how_to_use(cluster))
    elif args.action == "down":
        ended = local.down(folder)
        print(f"ended {ended} nodes" if ended else "no local cluster was running")
    else:
        print(status(folder))
    return 0


def status(folder: Path) -> str:
    """Return the text of `marey cluster status`."""
    from collections import Counter

    from cluster import dashboard, jobs, local

    cluster = local.last(folder)
    if cluster is None:
        return "no local cluster; `marey cluster up --local 2` starts one"
    running = len(cluster.running())
    if running < len(cluster.nodes):
        return (
            f"{running} of {len(cluster.nodes)} nodes are left of the cluster at {cluster.address} (the others ended, "
            "or this machine was restarted): `marey cluster down` clears it away"
        )
    alive = [node for node in dashboard.nodes(cluster.dashboard, cluster.token) if node["state"] == "ALIVE"]
    total = {name: sum(node["resources_total"].get(name, 0) for node in alive) for name in ("CPU", "GPU")}
    client = jobs.Target(cluster.dashboard, cluster.token, local=True).client()
    counts = Counter(job.status for job in jobs.jobs(client))
    return "\n".join(
        [
            f"nodes      {len(alive)} of {len(cluster.nodes)} alive",
            f"CPUs       {total['CPU']:g}",
            f"GPUs       {total['GPU']:g}",
            f"jobs       {', '.join(f'{number} {name}' for name, number in sorted(counts.items())) or 'none'}",
            how_to_use(cluster),
        ]
    )


def how_to_use(cluster: LocalCluster) -> str:
    """Return where the cluster is and how to reach it."""
    return "\n".join(
        [
            f"address    {cluster.address}",
            f"dashboard  {cluster.dashboard} (asks for the token in {cluster.token_path})",
            "jobs       marey submit -- VERB ARGS",
            f"directly   RAY_ADDRESS={cluster.address} RAY_AUTH_TOKEN_PATH={cluster.token_path} marey VERB ARGS",
        ]
    )
