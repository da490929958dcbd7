"""`marey cluster up | status | down | init`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from pipelines.places import LocalFile
from pipelines.shared_arguments import Filling, WithJSON
from tasks.words import counted

if TYPE_CHECKING:
    from cluster.local import LocalCluster


@dataclass(frozen=True, kw_only=True)
class Args(Filling, WithJSON):
    """Start, show or stop a real Ray cluster on this machine, to try jobs on; or write the files of one elsewhere.

    `marey cluster init kuberay` writes the definitions of a cluster, with your values, and prints the commands that
    start it.
    """

    action: Positional[Literal["up", "status", "down", "init"]]
    """up, status, down or init."""
    target: Positional[Literal["kuberay", "aws", "on-premise", "slurm"] | None] = None
    """Where the cluster will be (init): kuberay, aws, on-premise or slurm."""
    folder: Positional[LocalFile | None] = None
    """Where the files go (init); by default a folder here, named as the target. No file is overwritten."""
    local: int = 2
    """Nodes to start (up)."""
    cpus_per_node: int | None = None
    """CPUs of each node (up); by default this machine's, divided."""

    def __post_init__(self) -> None:
        if self.action == "init" and self.target is None:
            raise ValueError("init needs a target, such as `marey cluster init kuberay`")
        if self.action != "init" and (self.target is not None or self.set):
            raise ValueError(f"a target and --set belong to init: `marey cluster {self.action}` takes neither")


@dataclass(frozen=True, kw_only=True)
class Status:
    """The local cluster of a workspace as it is now."""

    cluster: LocalCluster | None
    """None where none was started."""
    running: int = 0
    """Nodes whose processes run; where some are lost, nothing below is asked for."""
    alive: int = 0
    """Nodes that Ray counts as alive."""
    cpus: float = 0
    gpus: float = 0
    jobs: dict[str, int]
    """Number of jobs by status."""


def main(args: Args) -> int:
    """Do what the action says, and print where things are."""
    if args.target is not None:
        return init(args.target, args.folder or Path(args.target), args)
    from cluster import local
    from pipelines.text import show, to_json
    from pipelines.tracking import local_folder

    folder = local_folder()
    if args.action == "up":
        cluster = local.up(folder, args.local, args.cpus_per_node)
        text = f"a cluster of {counted(len(cluster.nodes), 'node')} runs at {cluster.address}\n{how_to_use(cluster)}"
        show(to_json(cluster) if args.json else text)
    elif args.action == "down":
        ended = local.down(folder)
        text = f"ended {counted(ended, 'node')}" if ended else "no local cluster was running"
        show(to_json({"ended": ended}) if args.json else text)
    else:
        found = status(folder)
        show(to_json(found) if args.json else to_text(found))
    return 0


def init(target: str, folder: Path, args: Args) -> int:
    """Write a target's files, and print their names and what comes next."""
    from cluster import definitions
    from pipelines.text import show, to_json

    written = definitions.init(target, folder, args.set)
    names = "\n".join(f"wrote {path}" for path in written.files)
    show(to_json(written) if args.json else f"{names}\nnext:\n{written.next}")
    return 0


def status(folder: Path) -> Status:
    """Ask the local cluster of a workspace, if there is one, for its nodes and jobs."""
    from collections import Counter

    from cluster import dashboard, jobs, local

    cluster = local.last(folder)
    running = len(cluster.running()) if cluster else 0
    if cluster is None or running < len(cluster.nodes):
        return Status(cluster=cluster, running=running, jobs={})
    alive = [node for node in dashboard.nodes(cluster.dashboard, cluster.token) if node["state"] == "ALIVE"]
    total = {name: sum(node["resources_total"].get(name, 0) for node in alive) for name in ("CPU", "GPU")}
    client = jobs.Target(cluster.dashboard, cluster.token, local=True).client()
    counts = Counter(job.status for job in jobs.jobs(client))
    return Status(
        cluster=cluster,
        running=running,
        alive=len(alive),
        cpus=total["CPU"],
        gpus=total["GPU"],
        jobs=dict(sorted(counts.items())),
    )


def to_text(found: Status) -> str:
    """Return the text of `marey cluster status`."""
    cluster = found.cluster
    if cluster is None:
        return "no local cluster; `marey cluster up --local 2` starts one"
    if found.running < len(cluster.nodes):
        return (
            f"{found.running} of {len(cluster.nodes)} nodes are left of the cluster at {cluster.address} (the others "
            "ended, or this machine was restarted): `marey cluster down` clears it away"
        )
    return "\n".join(
        [
            f"nodes      {found.alive} of {len(cluster.nodes)} alive",
            f"CPUs       {found.cpus:g}",
            f"GPUs       {found.gpus:g}",
            f"jobs       {', '.join(f'{number} {name}' for name, number in found.jobs.items()) or 'none'}",
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
