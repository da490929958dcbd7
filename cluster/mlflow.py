"""An MLflow server that ends with the process that started it: on loopback for one user, or for several."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from cluster import logs, ports
from cluster.errors import ClusterError
from cluster.login import Login
from cluster.waiting import waiting

HOST = "127.0.0.1"
WILDCARDS = {"0.0.0.0": HOST, "::": "::1"}
"""Hosts that stand for all addresses of this machine -> the one that this process asks."""
START_SECONDS = 120.0
STOP_SECONDS = 10.0
PR_SET_PDEATHSIG = 1
"""The signal that a process gets when its parent dies: <linux/prctl.h>."""


@dataclass(frozen=True)
class Service:
    """What a server offers, and to whom; the defaults are those of `marey ui`."""

    host: str = HOST
    """Address that it listens on; `0.0.0.0` for all of this machine."""
    allowed: tuple[str, ...] = ("localhost:*", "127.0.0.1:*")
    """Host names that requests may be sent to, as patterns: no page of another site can then send one."""
    origins: tuple[str, ...] = ()
    """Sites beside localhost whose pages may change something, as patterns: those of its own pages."""
    artifacts: str | None = None
    """Address that artifacts are kept at; None for a folder of the server's working folder."""
    accounts: str | None = None
    """Address of the database that keeps the accounts; None for one that ends with the server."""
    permission: str = "NO_PERMISSIONS"
    """What an account may do with the runs of others."""
    workers: int = 1
    """Processes that answer."""
    log: Path | None = None
    """File that the server's log is written to, anew at each start; None for one that nobody sees."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    port: int
    process: subprocess.Popen[bytes]

    def ask(self, path: str, login: Login | None = None) -> dict[str, Any] | None:
        """Return what the server answers to a GET of its API: `{}` to what it does not know, None to a wrong login.

        Raises:
            ClusterError: it fails, or does not answer.
        """
        request = urllib.request.Request(f"{self.url}/api/2.0/mlflow/{path}")
        if login:
            word = base64.b64encode(f"{login.name}:{login.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
        try:
            with _open(request, START_SECONDS) as answer:  # it opens its database at the first question
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                return None
            if error.code == HTTPStatus.NOT_FOUND:
                return {}
            raise ClusterError(f"the MLflow server answers with error {error.code}: look at its log") from error
        except OSError as error:
            raise ClusterError(f"the MLflow server does not answer ({error}): look at its log") from error


@contextlib.contextmanager
def serve(
    uri: str, port: int, folder: Path, login: Login | None = None, service: Service | None = None
) -> Iterator[Server]:
    """Serve the UI and API of a tracking database while the context lasts, and no longer than this process.

    Args:
        uri: address of the database, such as `sqlite:////absolute/mlflow.db`.
        port: port to serve on; 0 takes a free one.
        folder: working folder of the server, which keeps artifacts sent to it there.
        login: of the administrator, whom a server with accounts knows; None lets in whoever reaches it.
        service: what it offers beside that; None for the UI of one user.

    Raises:
        ClusterError: there is no database yet, the port is taken, the server ends before it answers, or it knows the
            administrator by another password.
    """
    service = service or Service()
    database = Path(unquote(uri.partition("?")[0].removeprefix("sqlite:///")))
    if uri.startswith("sqlite:///") and not database.is_file():
        raise ClusterError(
            f"there are no runs yet: {database} does not exist; run `marey train` or `marey demo`, or set "
            "MAREY_WORK to another workspace"
        )
    port = _claim(service.host, port)
    url = url_of(WILDCARDS.get(service.host, service.host), port)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", str(service.workers), "--serve-artifacts"),
        *("--artifacts-destination", service.artifacts or (folder / "mlartifacts").as_uri()),
        *("--host", service.host, "--port", str(port), "--allowed-hosts", ",".join(service.allowed)),
        *("--uvicorn-opts", f"--timeout-graceful-shutdown {STOP_SECONDS / 2:.0f} --no-access-log"),
        *(("--cors-allowed-origins", ",".join(service.origins)) if service.origins else ()),
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
    with tempfile.TemporaryDirectory(prefix="marey-ui-") as scratch, _log_file(service.log) as log:
        if login:
            environment |= _accounts(Path(scratch), login, service)
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
            server = Server(url, port, process)
            with waiting("the MLflow server to start"):
                _wait(server, log)
            if login and service.accounts:
                _refuse_other_password(server, login)
            yield server
        finally:
            _stop(process)


def url_of(host: str, port: int) -> str:
    """Return the address of a server on a host."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _log_file(path: Path | None) -> IO[bytes]:
    if path is None:
        return tempfile.TemporaryFile()
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w+b")
    except OSError as error:
        raise ClusterError(f"{path}, the server's log, cannot be written: {error.strerror}") from error


def _accounts(scratch: Path, login: Login, service: Service) -> dict[str, str]:
    """Write the settings of MLflow's basic authentication; return the variables for them and the administrator."""
    database = service.accounts or f"sqlite:///{scratch / 'accounts.db'}"
    settings = scratch / "basic_auth.ini"
    settings.touch(0o600)
    settings.write_text(
        "[mlflow]\n"
        f"default_permission = {service.permission}\n"
        f"database_uri = {database.replace('%', '%%')}\n"
        "auth_cache_ttl_seconds = 300\n"  # else each request of a page hashes the password anew
    )
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": login.name,
        "MLFLOW_AUTH_ADMIN_PASSWORD": login.password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY") or secrets.token_hex(32),
    }


def _refuse_other_password(server: Server, login: Login) -> None:
    """Raise ClusterError where the accounts are older than the password: MLflow keeps that of the first start."""
    if server.ask("experiments/search?max_results=1", login) is None:
        raise ClusterError(
            f"the database of the server knows {login.name} by another password: give that one in "
            "MLFLOW_AUTH_ADMIN_PASSWORD, or name another administrator in MLFLOW_AUTH_ADMIN_USERNAME"
        )


def _end_with(parent: int) -> Callable[[], None]:
    """Return what a child calls to be ended when its parent dies, however that happens; its own children follow it."""
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before
            os._exit(1)

    return follow


def _open(request: str | urllib.request.Request, seconds: float) -> IO[bytes]:
    """Open an address on this machine, through no proxy."""
    answer: IO[bytes] = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=seconds)
    return answer


def _wait(server: Server, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(OSError), _open(f"{server.url}/health", 5):
            return
        time.sleep(0.1)
    log.seek(0)
    raise ClusterError(f"the MLflow server did not start: {logs.reason(log.read().decode(errors='replace'))}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    # It has its own session, so that its workers end with it and Ctrl-C in the terminal reaches it only through us.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # also a worker that its parent has left behind
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _claim(host: str, port: int) -> int:
    """Return the port, or a free one for 0, which can be listened on at a host.

    Raises:
        ClusterError: it is taken, or the host is not this machine's.
    """
    port = port or ports.free(1)[0]
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise ClusterError(
                f"{host} is not an address of this machine ({error.strerror}): give --host one that is, or 0.0.0.0 "
                "for all of them"
            ) from error
        raise ClusterError(
            f"port {port} cannot be used ({error.strerror}): choose another with --port, or 0 for a free one"
        ) from error
    return port
