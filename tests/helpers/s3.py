"""A real S3 API (moto's server, a process of its own) behind a proxy of ours that fails as asked."""

from __future__ import annotations

import http.client
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from processes import find_line, started

SERVER_S = 3600.0
"""How long the server may live: no session is longer."""

SAYS = {
    403: ("AccessDenied", "Access Denied"),
    501: ("NotImplemented", "not implemented"),
    503: ("SlowDown", "Please reduce your request rate."),
}


@contextmanager
def moto() -> Iterator[int]:
    """Run moto's server and give its port."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, limit=SERVER_S) as server:
        found = find_line(server.stderr, r"Running on http://127\.0\.0\.1:(\d+)")
        log = threading.Thread(target=server.stderr.read, daemon=True)  # which must not fill the pipe
        log.start()
        yield int(found[1])


@dataclass
class Fault:
    """What happens to the next requests whose `METHOD /bucket/key?query` matches."""

    match: str
    times: float
    """How many requests; infinite until the proxy is healed."""
    cut_after: int | None = None
    """Bytes of the request's body that arrive before the connection ends."""
    delay_s: float = 0.0
    """How long the answer to what was done is held back; without this and a cut, nothing is done but to refuse."""
    status: int = 503
    """What a refusal answers."""
    met: int = 0
    """Requests that have met it."""


@dataclass
class Request:
    """One that the proxy has seen."""

    line: str
    """`METHOD /bucket/key?query`."""
    answered: int = 0
    """Bytes of the answer's body."""


@dataclass
class Proxy:
    """Stands between clients and moto, on a port that is known before either runs."""

    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    target: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _healed: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def fail(self, match: str, times: float = float("inf"), **how: float) -> Fault:
        """Add a fault: a refusal, unless `cut_after` or `delay_s` say otherwise."""
        self._healed.clear()
        fault = Fault(match, times, **how)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """End all faults, and what they hold back."""
        self.faults.clear()
        self._healed.set()

    def next_fault(self, line: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if re.search(fault.match, line) and fault.met < fault.times:
                    fault.met += 1
                    return fault
        return None

    @contextmanager
    def serving(self) -> Iterator[Proxy]:
        """Run moto and pass requests on to it."""
        proxy = self

        class Handler(_Handler):
            def handle_one_request(self) -> None:
                self.proxy = proxy
                super().handle_one_request()

        with moto() as self.target:
            server = ThreadingHTTPServer(self.listener.getsockname(), Handler, bind_and_activate=False)
            server.socket.close()
            server.socket = self.listener
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self.heal()
                server.shutdown()
                thread.join()

    def environment(self) -> dict[str, str]:
        """What a client, and every worker of Ray, needs to know."""
        return environment(self.url)


def environment(url: str) -> dict[str, str]:
    """Variables that name an S3 API; few attempts, and short ones, to keep tests short."""
    host = urllib.parse.urlsplit(url).hostname
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "marey",
        "AWS_SECRET_ACCESS_KEY": "marey",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",
        "FSSPEC_S3": '{"config_kwargs": {"read_timeout": 2}}',
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), host])),
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _pass_on(self) -> None:
        line = f"{self.command} {self.path}"
        seen = Request(line)
        self.proxy.requests.append(seen)
        fault = self.proxy.next_fault(line)
        length = int(self.headers.get("Content-Length", 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
        moto = http.client.HTTPConnection("127.0.0.1", self.proxy.target)
        try:
            if fault and fault.cut_after is not None:
                self._cut(moto, headers, min(fault.cut_after, length))
                return
            body = self.rfile.read(length)
            if fault and not fault.delay_s:
                code, text = SAYS[fault.status]
                error = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
                self._answer(fault.status, {"Content-Type": "application/xml"}, error.encode())
                return
            moto.request(self.command, self.path, body, headers)
            reply = moto.getresponse()
            content = reply.read()
            if fault:
                self.proxy._healed.wait(fault.delay_s)
            seen.answered = len(content)
            self._answer(reply.status, dict(reply.getheaders()), content)
        except (BrokenPipeError, ConnectionResetError):  # who asked did not wait for the answer
            self.close_connection = True
        finally:
            moto.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    def _cut(self, moto: http.client.HTTPConnection, headers: dict[str, str], count: int) -> None:
        """Let so many bytes of the body through, then end both connections, this one by a reset."""
        moto.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            moto.putheader(name, value)
        moto.endheaders(self.rfile.read(count))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        # The length of what HEAD would have given is moto's to say.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass
