"""Join a Ray cluster, or start one for this process, with our packages first on the path of every worker."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cluster import head, interrupt, private, ray_internals, token
from cluster.errors import ClusterError
from cluster.running import is_loopback, latest
from cluster.waiting import waiting
from cluster.watch import Watch

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds marey.py, models/, tasks/, pipelines/ and cluster/."""

INHERITED = ("MAREY_CACHE_GB",)
"""Variables that say how this process's work is to be done, not how a machine is."""

_TOKEN_VARIABLE = "RAY_AUTH_TOKEN_PATH"
_own: private.PrivateFolder | None = None
"""What the local cluster of this process keeps its sockets, logs and code in."""
_watch: Watch | None = None
"""What watches the Ray that this process works on."""


def attach(address: str | None = None, *, num_cpus: int | None = None) -> None:
    """Connect this process to Ray; one that is already connected stays as it is.

    Workers start in another folder than this process on some clusters (in a job: the submitted one), so paths sent to
    them must be absolute.

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
        with waiting("Ray to start on this machine"):
            _start(num_cpus)
    else:
        address = latest() if address == "auto" else address
        with waiting(f"the Ray cluster at {address}"):
            _join(address)


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


def _join(address: str) -> None:
    head.probe(address)
    if "RAY_AUTH_MODE" not in os.environ and token.read():
        _send_token()
    # Ray puts the driver's folder before everything else on the workers' path, unless there is a working_dir. A job
    # has one (what was submitted); elsewhere it is the folder these packages lie in, used in place.
    runtime_env: dict[str, Any] | None = {"working_dir": f"local://{ROOT}", "env_vars": inherited()}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        runtime_env = None
    loopback = is_loopback(address.rpartition(":")[0])
    _init(address, f"join the Ray cluster at {address}", loopback=loopback, runtime_env=runtime_env)


def _start(num_cpus: int | None) -> None:
    global _own
    _own = private.make()
    atexit.register(_end)  # after that of Ray, which is not imported yet, or shuts down within
    try:
        if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token":
            if aside := token.provide(_own.path / "token"):
                os.environ[_TOKEN_VARIABLE] = str(aside)
            _send_token()
        with ray_internals.lean_node():
            _init(
                "local",
                "start Ray on this machine",
                loopback=True,
                job_config=ray_internals.job_on_path(str(ROOT)),  # workers inherit this process's variables
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
    ray_internals.keep_from_output()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **options)
    except Exception as error:  # such as a full temporary folder; a start that takes too long has no type of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        again = "; the machine is very busy: give the same command again" if "timed out" in reason else ""
        raise ClusterError(f"cannot {doing}: {reason}{again}") from error
    except SystemExit:  # from Ray's answer to SIGTERM while it starts, of which there are several, all without a word
        raise KeyboardInterrupt(interrupt.TOLD) from None
    finally:
        if before in (signal.SIG_DFL, interrupt.interrupt):
            interrupt.hear()  # Ray's own ends in a traceback
    _watch_over(ray.get_runtime_context().gcs_address)


def _watch_over(address: str) -> None:
    """End this process in one line when the Ray is lost that it has just been connected to."""
    global _watch
    import ray

    session = ray.get_runtime_context().get_job_id()

    def is_in_use() -> bool:
        return ray.is_initialized() and ray.get_runtime_context().get_job_id() == session

    began_with = psutil.Process().children(recursive=True) if _own is not None else []

    def end() -> None:
        """End what is left of this process's own cluster, which Ray cannot do any more."""
        if _own is not None:
            for process in {*began_with, *psutil.Process().children(recursive=True)}:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            _own.remove()

    _unwatch()
    _watch = Watch(
        address if head.can_be_asked() else "",
        ray_internals.node_processes(),
        "the Ray node on this machine has ended: start it again, and" if _own is None else "Ray has ended:",
        is_in_use,
        end,
    )
    atexit.register(_unwatch)  # before Ray ends what is watched


def _unwatch() -> None:
    if _watch is not None:
        _watch.stop()


def _end() -> None:
    """End this process's local cluster, if it has one, and remove what it kept."""
    global _own
    if _own is None:
        return
    _unwatch()
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
