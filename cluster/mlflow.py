"""An MLflow server on loopback, for one user."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cluster import logs, ports
from cluster.errors import ClusterError

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def serve(uri: str, port: int, folder: Path) -> Iterator[Server]:
    """Serve the UI and API of a tracking database while the context lasts.

    Args:
        uri: address of the database, such as `sqlite:////absolute/mlflow.db`.
        port: port to serve on; 0 takes a free one.
        folder: working folder of the server, which keeps artifacts sent to it there.

    Raises:
        ClusterError: there is no database yet, the port is taken, or the server ends before it answers.
    """
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not database.is_file():
        raise ClusterError(
            f"there are no runs yet: {database} does not exist; run `marey train` or `marey demo`, or set "
            "MAREY_WORK to another workspace"
        )
    port = _claim(port)
    url = f"http://{HOST}:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri),
        *("--artifacts-destination", (folder / "mlartifacts").as_uri(), "--workers", "1"),
        # The host names that a browser sends on this machine or at the other end of a tunnel; no page of another site.
        *("--host", HOST, "--port", str(port), "--allowed-hosts", "localhost:*,127.0.0.1:*"),
    ]
    # Its background jobs, which evaluate text, would be eight idle processes.
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait(process, url, log)
            yield Server(url, process)
        finally:
            _stop(process)


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
