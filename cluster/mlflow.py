"""An MLflow server on loopback, for one user, that ends with the process that started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from cluster import logs, ports
from cluster.errors import ClusterError
from cluster.login import Login

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 10.0
PR_SET_PDEATHSIG = 1
"""The signal that a process gets when its parent dies: <linux/prctl.h>."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def serve(uri: str, port: int, folder: Path, login: Login | None = None) -> Iterator[Server]:
    """Serve the UI and API of a tracking database while the context lasts, and no longer than this process.

    Args:
        uri: address of the database, such as `sqlite:////absolute/mlflow.db`.
        port: port to serve on; 0 takes a free one.
        folder: working folder of the server, which keeps artifacts sent to it there.
        login: what every request must bring; None lets in whoever reaches this machine's loopback.

    Raises:
        ClusterError: there is no database yet, the port is taken, or the server ends before it answers.
    """
    database = Path(unquote(uri.partition("?")[0].removeprefix("sqlite:///")))
    if uri.startswith("sqlite:///") and not database.is_file():
        raise ClusterError(
            f"there are no runs yet: {database} does not exist; run `marey train` or `marey demo`, or set "
            "MAREY_WORK to another workspace"
        )
    port = _claim(port)
    url = f"http://{HOST}:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--artifacts-destination", (folder / "mlartifacts").as_uri()),
        # The host names that a browser sends on this machine or at the other end of a tunnel; no page of another site.
        *("--host", HOST, "--port", str(port), "--allowed-hosts", "localhost:*,127.0.0.1:*"),
        *("--uvicorn-opts", f"--timeout-graceful-shutdown {STOP_SECONDS / 2:.0f}"),
        *(("--app-name", "basic-auth") if login else ()),
    ]
    # An address may hold a password, and everyone can read a command. Background jobs, which evaluate text, would be
    # eight idle processes.
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with tempfile.TemporaryDirectory(prefix="marey-ui-") as scratch, tempfile.TemporaryFile() as log:
        if login:
            environment |= _accounts(Path(scratch), login)
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o007 if folder.stat().st_mode & stat.S_IWGRP else 0o077,
            preexec_fn=_end_with(os.getpid()),
        )
        try:
            _wait(process, url, log)
            yield Server(url, process)
        finally:
            _stop(process)


def _accounts(scratch: Path, login: Login) -> dict[str, str]:
    """Write the accounts of MLflow's basic authentication, one; return the variables that name them."""
    settings = scratch / "basic_auth.ini"
    settings.touch(0o600)
    settings.write_text(
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{str(scratch / 'accounts.db').replace('%', '%%')}\n"
        f"admin_username = {login.name}\n"
        f"admin_password = {login.password}\n"
        "auth_cache_ttl_seconds = 300\n"  # else each request of a page hashes the password anew
    )
    return {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32)}


def _end_with(parent: int) -> Callable[[], None]:
    """Return what a child calls to be ended when its parent dies, however that happens; its own children follow it."""
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before
            os._exit(1)

    return follow


def _wait(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), opener.open(f"{url}/health", timeout=5):
            return
        time.sleep(0.1)
    log.seek(0)
    raise ClusterError(f"the MLflow server did not start: {logs.reason(log.read().decode(errors='replace'))}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    # It has its own session, so that its workers end with it and Ctrl-C in the terminal reaches it only through us.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _claim(port: int) -> int:
    if port == 0:
        return ports.free(1)[0]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ClusterError(
                f"port {port} cannot be used ({error.strerror}): choose another with --port, or 0 for a free one"
            ) from error
    return port
