"""Join a Ray cluster, or start one for this process, with our packages first on the path of every worker."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from cluster import ray_internals, token
from cluster.errors import ClusterError

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds marey.py, models/, tasks/, pipelines/ and cluster/."""

PROBE_SECONDS = 5.0
"""Time that a cluster has to answer; Ray itself would try for minutes."""


def attach(address: str | None = None, *, num_cpus: int | None = None) -> None:
    """Connect this process to Ray; one that is already connected stays as it is.

    Workers start in the folder that holds our packages (in a job: the submitted one), so paths sent to them must be
    absolute.

    Args:
        address: `host:port` of a cluster, or `local` for one that lives and dies with this process. None takes
            RAY_ADDRESS (set for a job's driver), else `local`.
        num_cpus: CPUs of a local cluster; None takes all of this machine.

    Raises:
        ClusterError: there is no cluster at the address, or it refuses the token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    local = address == "local"
    if not local and address != "auto":
        probe(address)
    if "RAY_AUTH_MODE" not in os.environ and (local or token.read()):
        _send_token()
    # Ray puts the driver's folder before everything else on the workers' path, unless there is a working_dir. A job
    # has one (what was submitted); elsewhere it is the folder these packages lie in, used in place.
    runtime_env = None if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else {"working_dir": f"local://{ROOT}"}
    try:
        ray.init(
            address,
            num_cpus=num_cpus if local else None,
            include_dashboard=False if local else None,
            runtime_env=runtime_env,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:  # such as a full temporary folder
        reason = str(error).strip().splitlines()[0]
        doing = "start Ray on this machine" if address == "local" else f"join the Ray cluster at {address}"
        raise ClusterError(f"cannot {doing}: {reason}") from error


def probe(address: str) -> None:
    """Raise ClusterError unless a Ray cluster at `host:port` answers and accepts our token."""
    import grpc

    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ClusterError(
            f"{address} is not the address of a Ray cluster's head: give host:port, or from outside the cluster use "
            "`marey submit --address`"
        )
    if os.environ.get("RAY_USE_TLS", "0") in ("1", "true"):
        return  # needs the certificates that only Ray itself loads
    with grpc.insecure_channel(address) as channel:
        alive = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            alive(b"", timeout=PROBE_SECONDS, metadata=list(token.header(token.read()).items()))
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterError(
                    f"the Ray cluster at {address} refuses the token: set RAY_AUTH_TOKEN_PATH to the file with its "
                    "token (`marey cluster status` prints the path for a local cluster)"
                ) from error
            raise ClusterError(
                f"no Ray cluster answers at {address}: start one (`marey cluster up`), "
                "or correct the address in --address or RAY_ADDRESS"
            ) from error


def _send_token() -> None:
    """Turn token authentication on, even where Ray has already been imported."""
    os.environ["RAY_AUTH_MODE"] = "token"
    ray_internals.reload_config()
