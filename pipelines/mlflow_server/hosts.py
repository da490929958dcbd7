"""Who reaches a shared server, and under which names."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence

import psutil

from cluster.mlflow import WILDCARDS, url_of
from cluster.running import is_loopback
from pipelines.errors import UserError

HOSTS, ORIGINS = "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
"""MLflow's variables: hosts that requests may be sent to, and sites whose pages may send what changes something."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def refuse_open(host: str) -> None:
    """Raise UserError where a server without logins would listen beyond this machine."""
    if not is_loopback(host):
        raise UserError(
            f"--no-login lets all who reach {host} change and delete the runs: leave out --no-login, or --host"
        )


def allowed_hosts(given: Sequence[str], host: str) -> tuple[str, ...]:
    """Return the hosts that requests may be sent to, as MLflow's patterns.

    Args:
        given: names; each stands for all ports. Without any, those of MLFLOW_SERVER_ALLOWED_HOSTS are taken as they
            are, else the names and addresses of this machine.
        host: address that the server listens on.
    """
    own = list(LOOPBACK)
    if given:
        own += given
    elif variable := _listed(HOSTS):
        return tuple(dict.fromkeys([*_at_any_port(own), *variable]))
    elif not is_loopback(host):
        own += _of_this_machine(host)
    return _at_any_port(own)


def allowed_origins(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the sites whose pages may change something, as MLflow's patterns: those of the server's own pages.

    Args:
        hosts: what `allowed_hosts` has returned. `*` stands for none of them, so that pages of others stay out.
    """
    own = [f"{scheme}://{host}" for host in hosts if host != "*" for scheme in ("http", "https")]
    return tuple(dict.fromkeys([*own, *_listed(ORIGINS)]))


def client_url(host: str, port: int, given: Sequence[str]) -> str:
    """Return the address for clients: by the first name given, else by that of this machine, or of its loopback."""
    if is_loopback(host):
        return url_of(host, port)
    named = next((name for name in given if "*" not in name), None)
    if named is not None:
        return f"http://{named}" if _has_port(named) else url_of(named.strip("[]"), port)
    return url_of(socket.getfqdn() if host in WILDCARDS else host, port)


def _of_this_machine(host: str) -> list[str]:
    """Return the names and addresses that a server on a host can be reached by."""
    if host not in WILDCARDS:
        return [_bracketed(host)]
    addresses = [
        one.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for one in interface
        if one.family in (socket.AF_INET, socket.AF_INET6)
    ]
    return [socket.gethostname(), socket.getfqdn(), *map(_bracketed, addresses)]


def _listed(variable: str) -> list[str]:
    return [word for part in os.environ.get(variable, "").split(",") if (word := part.strip())]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _has_port(name: str) -> bool:
    return name.rpartition("]")[2].rpartition(":")[2].isdigit()


def _at_any_port(names: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of names: each as it is, and with any port where it has neither port nor wildcard."""
    found: list[str] = []
    for name in names:
        found.append(name)
        if "*" not in name and not _has_port(name):
            found.append(f"{name.replace('[', '[[]', 1)}:*")  # as fnmatch reads a bracket
    return tuple(dict.fromkeys(found))
