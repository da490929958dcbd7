"""Which cluster is meant, and what is said when it is not there."""

import http.server
import threading
import time

import pytest

from cluster import dashboard, jobs, logs, ray_internals
from cluster.attach import attach
from cluster.errors import ClusterError
from cluster.head import probe

pytestmark = pytest.mark.quick


@pytest.fixture
def something_else():
    """Serve pages that are no Ray cluster's; yield the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonesuch.invalid:6379"])
def test_nothing_there(address):
    started = time.monotonic()
    with pytest.raises(ClusterError, match=f"no Ray cluster answers at {address}"):
        attach(address)
    assert time.monotonic() - started < 10


def test_something_else_there(something_else):
    with pytest.raises(ClusterError, match="no Ray cluster answers"):
        probe(f"127.0.0.1:{something_else}")
    with pytest.raises(ClusterError, match="is not a Ray dashboard"):
        dashboard.get(f"http://127.0.0.1:{something_else}", "/api/version", None)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001", "head", "head:port"])
def test_not_the_address_of_a_head(address):
    with pytest.raises(ClusterError, match=r"give host:port, or .*marey submit --address"):
        attach(address)


def test_address_from_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at 127.0.0.1:9"):
        attach()


def test_where_jobs_go(tmp_path):
    assert jobs.target("http://head:8265/", None, tmp_path).url == "http://head:8265"
    assert jobs.target(None, "head:8265", tmp_path).url == "http://head:8265"
    assert jobs.target("https://a", "http://b", tmp_path).url == "https://a"
    with pytest.raises(ClusterError, match="no cluster given"):
        jobs.target(None, None, tmp_path)
    with pytest.raises(ClusterError, match="dashboard"):
        jobs.target("ray://head:10001", None, tmp_path)
    with pytest.raises(ClusterError, match=r"no Ray dashboard answers at http://127.0.0.1:9 "):
        jobs.target("127.0.0.1:9", None, tmp_path).client()


def test_a_redirect_takes_the_token_nowhere():
    """Neither from our requests nor from those of Ray's client of jobs."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            got.append((self.path, self.headers["authorization"]))
            self.send_response(302)
            self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ClusterError, match="is not a Ray dashboard"):
            jobs.Target(url, "secret", local=False).client()
        with pytest.raises(ValueError, match="Expecting value"):
            ray_internals.job_client(url, {"authorization": "Bearer secret"})
        server.shutdown()
        thread.join()
    assert set(got) == {("/api/version", "Bearer secret")}


def test_reason_in_a_log():
    assert logs.reason("one\n\n") == "one"
    assert logs.reason("") == "its log is empty"
    assert (
        logs.reason("  File x\n\x1b[31mValueError: too many\x1b[0m\n\n(more at https://x)\n") == "ValueError: too many"
    )
