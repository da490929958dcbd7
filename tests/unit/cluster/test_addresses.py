"""Which cluster is meant, and what is said when it is not there."""

import http.server
import json
import os
import threading
import time

import pytest

from cluster import dashboard, jobs, local, logs, token
from cluster.attach import attach, probe
from cluster.errors import ClusterError

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


def test_state_of_a_cluster_that_is_gone(tmp_path):
    # The process of this test has the id, but not the start, of the node that was.
    node = {"pid": os.getpid(), "started": 1, "log": str(tmp_path / "node-0.log")}
    temp = tmp_path / "temp"
    temp.mkdir()
    state = {"address": "127.0.0.2:1", "dashboard": "http://127.0.0.1:1", "token_path": "", "temp": str(temp)}
    (tmp_path / "cluster.json").write_text(json.dumps(state | {"nodes": [node]}))
    assert local.last(tmp_path).address == "127.0.0.2:1"
    assert local.current(tmp_path) is None
    with pytest.raises(ClusterError, match="no cluster given"):
        jobs.target(None, None, tmp_path)
    assert local.down(tmp_path) == 0
    assert local.last(tmp_path) is None
    assert not temp.exists()


def test_token_is_its_owners_alone(tmp_path, monkeypatch):
    path = tmp_path / "token"
    value = token.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert token.create(path) != value
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert token.read() == path.read_text()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "other")
    assert token.read() == "other"
    assert token.header(None) == {}


def test_reason_in_a_log():
    assert logs.reason("one\n\n") == "one"
    assert logs.reason("") == "its log is empty"
    assert (
        logs.reason("  File x\n\x1b[31mValueError: too many\x1b[0m\n\n(more at https://x)\n") == "ValueError: too many"
    )
