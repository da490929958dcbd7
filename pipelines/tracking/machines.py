"""Refuses, before anything is computed, what machines of a cluster cannot do together."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from pipelines.compute import capacity
from pipelines.errors import UserError
from pipelines.tracking.address import database_file
from pipelines.tracking.store import refuse_silent, server_answers
from pipelines.tracking.tracker import refuse_shared_sqlite
from pipelines.tracking.workspace import make_workspace, workspace
from tasks.data import storage

ANSWER_S = 60.0
"""How long a node may take to look for a file; a process has to start there."""

log = logging.getLogger(__name__)

_found: set[tuple[str, str, frozenset[str]]] = set()
"""Workspaces and stores, each with the nodes that were found to share them: a verb may train several times."""


def refuse_unshared(uri: str) -> None:
    """Refuse a cluster whose machines do not share MLflow's store, or the workspace.

    Args:
        uri: address of MLflow's store.

    Raises:
        UserError: one does not see the workspace, or the store is a file and there are several.
        ClusterError: one does not reach the store, or is not let in.
    """
    place, nodes = workspace(), capacity.nodes()
    seen = place, uri, frozenset(nodes)
    if len(nodes) > 1 and seen not in _found:
        answers = _ask(place, uri, nodes)
        blind = sorted(address for address, answer in answers.items() if not answer.sees)
        if blind:
            raise UserError(
                f"the workspace {place} is not seen by {', '.join(blind)}: set MAREY_WORK to a folder that all "
                "machines of the cluster see under the same path, or to s3://..."
            )
        for address, answer in sorted(answers.items()):
            if answer.refused:
                raise ClusterError(f"the machine {address} cannot write to MLflow: {answer.refused}")
        _found.add(seen)
    refuse_shared_sqlite(uri, len(set(nodes.values())))


@dataclass(frozen=True)
class _Answer:
    """What a node has found."""

    sees: bool
    """Whether it sees a file of the workspace."""
    refused: str = ""
    """Why it cannot use MLflow's store; empty where it can."""


def _ask(place: str, uri: str, nodes: dict[str, str]) -> dict[str, _Answer]:
    """Return what each node answers, by address, about a file that is written for them here, and about the store."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = storage.join(place, f".seen-{secrets.token_hex(8)}")
    make_workspace(place)
    storage.publish(probe, b"")
    try:
        asked = {}
        for node, address in nodes.items():
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            task = ray.remote(_look).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            asked[task.remote(probe, uri)] = address
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
        for one in silent:
            log.warning("%s has not said within %.0f s whether it sees the workspace", asked[one], ANSWER_S)
            ray.cancel(one, force=True)
        return {asked[one]: _answer(one, asked[one]) for one in answered}
    finally:
        storage.remove(probe)


def _answer(reference: object, address: str) -> _Answer:
    """Return what a node says; one that is lost meanwhile counts as if all were well."""
    import ray

    try:
        answer = ray.get(reference)  # type: ignore[call-overload]
        assert isinstance(answer, _Answer)
        return answer
    except ray.exceptions.RayError as error:
        if isinstance(error, ray.exceptions.RayTaskError):
            log.warning("%s cannot look into the workspace: %s", address, error.cause)
            return _Answer(sees=False)
        log.warning("%s was lost while it looked for the workspace", address)
        return _Answer(sees=True)


def _look(probe: str, uri: str) -> _Answer:
    """Look for a file and for the store; runs on each node."""
    sees = Path(probe).exists() if storage.is_local(probe) else storage.exists(probe)
    if database_file(uri) or server_answers(uri):
        return _Answer(sees)
    try:
        refuse_silent(uri)
    except (ClusterError, UserError) as error:
        return _Answer(sees, str(error))
    return _Answer(sees)
