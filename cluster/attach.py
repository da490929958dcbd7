"""Join a Ray cluster, or start one for this process, with our packages first on the path of every worker."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from cluster import private, ray_internals, token
from cluster.errors import ClusterError
from cluster.running import is_loopback, latest

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds marey.py, models/, tasks/, pipelines/ and cluster/."""

PROBE_SECONDS = 5.0
"""Time that a cluster has to answer; Ray itself would try for minutes."""

INHERITED = ("MAREY_CACHE_GB",)
"""Variables that say how this process's work is to be done, not how a machine is."""

_TOKEN_VARIABLE = "RAY_AUTH_TOKEN_PATH"
_own: private.PrivateFolder | None = None
"""What the local cluster of this process keeps its sockets, logs and code in."""


def attach(address: str | None = None, *, num_cpus: int | None = None) -> None:
    """Connect this process to Ray; one that is already connected stays as it is.

    Workers start in the folder that holds our packages (in a job: the submitted one), so paths sent to them must be
    absolute.

    Args:
        address: `host:port` of a cluster, `auto` for the one that `ray start` started on this machine, or `local` for
            one that lives and dies with this process. None takes RAY_ADDRESS (set for a job's driver), else `local`.
        num_cpus: CPUs of a local cluster; None takes all of this machine.

    Raises:
        ClusterError: there is no cluster at the address, it refuses the token, or this machine cannot hold a local one.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _end()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        _start(num_cpus)
    else:
        _join(latest() if address == "auto" else address)


def is_alone(address: str | None = None) -> bool:
    """Return whether there is no cluster to join at `address`, None standing for what it does in `attach`.

    A local one that this process has started already is none: nobody else uses it.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return _own is not None
    return (address or os.environ.get("RAY_ADDRESS") or "local") == "local"


def inherited() -> dict[str, str]:
    """Return the variables of this process that workers on all machines need too."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


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


def _join(address: str) -> None:
    probe(address)
    if "RAY_AUTH_MODE" not in os.environ and token.read():
        _send_token()
    _init(address, f"join the Ray cluster at {address}", loopback=is_loopback(address.rpartition(":")[0]))


def _start(num_cpus: int | None) -> None:
    global _own
    _own = private.make()
    atexit.register(_end)  # after that of Ray, which is not imported yet, or shuts down within
    try:
        if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token":
            if aside := token.provide(_own.path / "token"):
                os.environ[_TOKEN_VARIABLE] = str(aside)
            _send_token()
        _init(
            "local",
            "start Ray on this machine",
            loopback=True,
            num_cpus=num_cpus,
            include_dashboard=False,
            _temp_dir=str(_own.ray),
        )
    except BaseException:
        _end()
        raise


def _init(address: str, doing: str, *, loopback: bool, **options: Any) -> None:
    import ray

    ray_internals.use_loopback(loopback)
    # Ray puts the driver's folder before everything else on the workers' path, unless there is a working_dir. A job
    # has one (what was submitted); elsewhere it is the folder these packages lie in, used in place.
    runtime_env: dict[str, Any] | None = {"working_dir": f"local://{ROOT}", "env_vars": inherited()}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        runtime_env = None
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, runtime_env=runtime_env, log_to_driver=False, logging_level=logging.WARNING, **options)
    except Exception as error:  # such as a full temporary folder; a start that takes too long has no type of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        again = "; the machine is very busy: give the same command again" if "timed out" in reason else ""
        raise ClusterError(f"cannot {doing}: {reason}{again}") from error
    if before in (signal.SIG_DFL, _terminate):
        _hear_sigterm()  # Ray's own ends in a traceback


def end_by_interrupt() -> None:
    """Let SIGTERM interrupt this process, as `attach` does, unless it has a handler of its own."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        _hear_sigterm()


def _hear_sigterm() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt("stopped by SIGTERM; what was finished is kept, and the same command resumes from there")


def _end() -> None:
    """End this process's local cluster, if it has one, and remove what it kept."""
    global _own
    if _own is None:
        return
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    if os.environ.get(_TOKEN_VARIABLE) == str(_own.path / "token"):
        del os.environ[_TOKEN_VARIABLE]
    _own.remove()
    _own = None
    atexit.unregister(_end)


def _send_token() -> None:
    """Turn token authentication on, even where Ray has already been imported."""
    os.environ["RAY_AUTH_MODE"] = "token"
    ray_internals.reload_config()
