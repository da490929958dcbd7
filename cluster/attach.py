"""Join a Ray cluster, or start one in this process, with our packages first on every worker's path."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from cluster.errors import ClusterError

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds models/, tasks/, pipelines/ and cluster/."""

PROBE_SECONDS = 5.0
"""How long a cluster may take to answer; Ray itself would try for a minute."""


def attach(
    address: str | None = None, *, num_cpus: int | None = None, dashboard: bool = False, worker_logs: bool = False
) -> None:
    """Connect this process to Ray; a process that is connected already stays as it is.

    Args:
        address: `host:port` of a cluster, or `local` for one that lives and dies with this process. None takes
            RAY_ADDRESS (which a job's driver has), else `local`.
        num_cpus: CPUs of a local one; None is all of this machine's.
        dashboard: start the dashboard of a local one.
        worker_logs: print what the workers print.

    Raises:
        ClusterError: no cluster at the address, or it refuses the token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"num_cpus": num_cpus, "include_dashboard": dashboard} if address == "local" else {}
    if address not in ("local", "auto"):
        probe(address)
    # Ray puts the driver's folder before everything else on the workers' path, unless there is a working_dir. A job
    # has one (what was submitted); elsewhere it is the folder these packages lie in, used in place.
    runtime_env = None if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else {"working_dir": f"local://{ROOT}"}
    try:
        ray.init(
            address,
            runtime_env=runtime_env,
            log_to_driver=worker_logs,
            logging_level=logging.WARNING,
            **options,
        )
    except ray.exceptions.AuthenticationError as error:
        raise ClusterError(
            f"the cluster at {address} refuses this token: set RAY_AUTH_TOKEN_PATH to the file of its token "
            "(`marey cluster status` shows it for a local cluster)"
        ) from error
    except (ConnectionError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ClusterError(f"cannot join the Ray cluster at {address}: {reason}") from error


def probe(address: str) -> None:
    """Raise ClusterError unless something listens at `host:port`."""
    if "://" in address:
        raise ClusterError(
            f"{address} is not the address of a Ray cluster's head (host:port): "
            "from outside the cluster use `marey submit --address`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"{address} is not the address of a Ray cluster's head: it should read host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}): "
            "start one (`marey cluster up`), or correct --address or RAY_ADDRESS"
        ) from error
