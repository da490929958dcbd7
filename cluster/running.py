"""The Ray cluster that `ray start` has started on this machine, for the address `auto`."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from cluster.errors import ClusterError

ADDRESS = r"[A-Za-z0-9.\[\]:_-]+:\d{1,5}"


def latest() -> str:
    """Return the address that `ray start` noted last, else that of a node which runs here.

    Only what this account or root has written or started counts: others can write into Ray's folder, too.

    Raises:
        ClusterError: there is none.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray")
    note = folder / "ray_current_cluster"
    found = _noted(note) or next(of_nodes(), None)
    if found is None:
        raise ClusterError(
            f"no Ray cluster has been started on this machine ({note} does not exist): give its head's host:port in "
            "--address or RAY_ADDRESS"
        )
    return found


def _noted(note: Path) -> str | None:
    try:
        with note.open("rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            address = file.read(300).decode("latin-1").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClusterError(f"cannot read {note} ({error.strerror}): give host:port in --address") from error
    if owner not in (0, os.geteuid()):
        raise ClusterError(f"{note} belongs to another account: if you trust it, give its host:port in --address")
    if not re.fullmatch(ADDRESS, address):
        raise ClusterError(f"{note} holds no address: remove it, or give host:port in --address")
    return address


def of_nodes() -> Iterator[str]:
    """Yield the heads' addresses of this machine's nodes; on loopback are those of a single run or workspace."""
    for process in psutil.process_iter(["name", "uids"]):
        with contextlib.suppress(psutil.Error, AttributeError):
            if process.info["name"] == "raylet" and process.info["uids"].real in (0, os.geteuid()):
                for word in process.cmdline():
                    match = re.fullmatch(f"--gcs-address=({ADDRESS})", word)
                    if match is not None and not is_loopback(match[1].rpartition(":")[0]):
                        yield match[1]


def is_loopback(host: str) -> bool:
    """Return whether a host, by name or number, is this machine as nobody else sees it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
