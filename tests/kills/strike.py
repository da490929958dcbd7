"""Kills one of the processes of a cluster on this machine."""

from __future__ import annotations

import contextlib
from random import Random

import local_nodes
import psutil

from cluster import local


def strike(cluster: local.LocalCluster, target: str, words: str, random: Random) -> bool:
    """Kill a process, if there is one of the kind.

    Args:
        cluster: the nodes of which it is one, or below one.
        target: "head" or "node" for the head, or another node, with all that it has started; "raylet" for one of other
            nodes, as the head does not outlive its own; otherwise any name.
        words: what the command of a process of another kind holds.
        random: draws one of several.

    Returns:
        Whether there was one.
    """
    nodes = cluster.processes()
    found = {"head": nodes[:1], "node": nodes[1:]}.get(target)
    if found is None:
        found = local_nodes.named(cluster, words, first=int(target == "raylet"))
    if not found:
        return False
    process = random.choice(found)
    if target in ("head", "node"):
        local_nodes.kill(process)
    else:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return True
