"""Refuses, before anything is computed, what machines of a cluster cannot do together."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from pipelines.compute import capacity
from pipelines.errors import UserError
from pipelines.tracking.tracker import refuse_shared_sqlite
from pipelines.tracking.workspace import make_workspace, workspace
from tasks.data import storage

ANSWER_S = 60.0
"""How long a node may take to look for a file; a process has to start there."""

log = logging.getLogger(__name__)

_found: set[tuple[str, frozenset[str]]] = set()
"""Workspaces, each with the nodes that were found to share it: a verb may train several times."""


def refuse_unshared(uri: str) -> None:
    """Raise UserError where the machines of this cluster do not share MLflow's database, or the workspace.

    Args:
        uri: address of MLflow's store.
    """
    place, nodes = workspace(), capacity.nodes()
    seen = place, frozenset(nodes)
    if len(nodes) > 1 and seen not in _found:
        blind = _blind(place, nodes)
        if blind:
            raise UserError(
                f"the workspace {place} is not seen by {', '.join(blind)}: set MAREY_WORK to a folder that all "
                "machines of the cluster see under the same path, or to s3://..."
            )
        _found.add(seen)
    refuse_shared_sqlite(uri, len(set(nodes.values())))


def _blind(place: str, nodes: dict[str, str]) -> list[str]:
    """Return the addresses of the nodes that do not see a file which is written for them here."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = storage.join(place, f".seen-{secrets.token_hex(8)}")
    make_workspace(place)
    storage.publish(probe, b"")
    try:
        asked = {}
        for node, address in nodes.items():
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            task = ray.remote(_sees).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            asked[task.remote(probe)] = address
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
        for one in silent:
            log.warning("%s has not said within %.0f s whether it sees the workspace", asked[one], ANSWER_S)
            ray.cancel(one, force=True)
        return sorted({asked[one] for one in answered if not _answer(one, asked[one])})
    finally:
        storage.remove(probe)


def _answer(reference: object, address: str) -> bool:
    """Return whether a node sees the file; one that is lost meanwhile counts as if it did."""
    import ray

    try:
        return bool(ray.get(reference))  # type: ignore[call-overload]
    except ray.exceptions.RayError as error:
        if isinstance(error, ray.exceptions.RayTaskError):
            log.warning("%s cannot look into the workspace: %s", address, error.cause)
            return False
        log.warning("%s was lost while it looked for the workspace", address)
        return True


def _sees(probe: str) -> bool:
    """Tell whether a file is there; runs on each node."""
    return Path(probe).exists() if storage.is_local(probe) else storage.exists(probe)
