"""The versions of Ray and Python on a cluster, and whether they go with those here."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version

from cluster import dashboard, head, ray_internals
from cluster.errors import ClusterError

LEAST_PYTHON = (3, 11)
"""As in pyproject.toml."""


@dataclass(frozen=True)
class Versions:
    """What the head of a cluster was started with."""

    ray: str
    python: str


def here() -> Versions:
    """Return the versions of this process."""
    return Versions(version("ray"), platform.python_version())


def of_dashboard(url: str, token: str | None) -> Versions:
    """Return the versions of the cluster whose dashboard is at `url`.

    Raises:
        ClusterError: as `dashboard.get` does.
    """
    answer = dashboard.get(url, "/api/v0/cluster_metadata", token)["data"]
    return Versions(answer["rayVersion"], answer["pythonVersion"])


def of_head(address: str, seconds: float = head.PROBE_SECONDS) -> Versions:
    """Return the versions of the cluster whose head is at `host:port`, and which has answered `head.probe`.

    Raises:
        ClusterError: it does not answer any more.
    """
    import grpc

    try:
        noted = ray_internals.read_metadata(lambda method, request: head.call(address, method, request, seconds))
    except grpc.RpcError as error:
        raise ClusterError(f"the head at {address} has stopped to answer: give the command again") from error
    return Versions(noted["ray_version"], noted["python_version"])


def refuse_unfit(there: Versions) -> None:
    """Refuse a cluster on which our code does not run: it needs the Ray that it was checked with, and a recent Python.

    Raises:
        ClusterError: its Ray or Python is another.
    """
    ray, python = (".".join(text.split(".")[:2]) for text in (here().ray, there.python))
    if not there.ray.startswith(f"{ray}."):
        raise ClusterError(f"the cluster has Ray {there.ray}, and this marey needs {ray}: install that there")
    if tuple(map(int, python.split("."))) < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        raise ClusterError(
            f"the cluster has Python {there.python}, and marey needs {least} or newer: install that there"
        )


def differences(there: Versions) -> str:
    """Return what to do about versions that differ from those here; an empty text where none do.

    Ray connects only what has the same version of Ray, and of Python to the last digit.
    """
    own = here()
    wrong = [
        f"{name} {theirs} here, or {name} {ours} there"
        for name, ours, theirs in (("Ray", own.ray, there.ray), ("Python", own.python, there.python))
        if ours != theirs
    ]
    return f"install {'; and '.join(wrong)}" if wrong else ""
