"""A real MLflow server behind a proxy of ours, which can be away, or do something between a request and its answer."""

from __future__ import annotations

import http.client
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

from cluster.mlflow import serve

FIRST_S = 120.0
"""Time for the server's first answer on a busy machine."""


@dataclass
class Front:
    """The address that clients are given, and what happens there."""

    url: str
    away: bool = False
    """Whether every connection ends without an answer."""
    requests: list[str] = field(default_factory=list)
    """`METHOD /path?query` of each request that was passed on."""
    _events: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def after(self, match: str, action: Callable[[], object]) -> None:
        """Call once, when the server has done the next request that matches, and drop its answer."""
        self._events.append((match, action))

    def take(self, line: str) -> Callable[[], object] | None:
        """Return what is to be done after this request."""
        with self._lock:
            found = next((event for event in self._events if re.search(event[0], line)), None)
            if found:
                self._events.remove(found)
        return found[1] if found else None


@contextmanager
def front(folder: Path) -> Iterator[Front]:
    """Run a server on a database in a folder, and the proxy."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mlflow.db").touch()
    with serve(f"sqlite:///{folder}/mlflow.db", 0, folder) as server:
        target = urlparse(server.url)
        ready = f"{server.url}/api/2.0/mlflow/experiments/search?max_results=1"
        urllib.request.urlopen(ready, timeout=FIRST_S).close()  # it opens its database at the first question
        proxy = Front("")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if proxy.away:
                    self.close_connection = True
                    return
                line = f"{self.command} {self.path}"
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection = http.client.HTTPConnection(target.hostname or "", target.port)
                try:
                    connection.request(self.command, self.path, body, headers | {"Host": target.netloc})
                    reply = connection.getresponse()
                    content = reply.read()
                finally:
                    connection.close()
                proxy.requests.append(line)
                if action := proxy.take(line):
                    action()
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                for name, value in reply.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _pass_on

            def handle(self) -> None:
                with suppress(ConnectionError):  # a client that was killed
                    super().handle()

            def log_message(self, format: str, *args: object) -> None:
                pass

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listener.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            listener.server_close()
            thread.join()
