"""`marey mlflow-server` where its PostgreSQL or its S3 is away, or turns it away: one line, at once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import postgres
import processes
import pytest
import s3
from shared_mlflow import refused, served

from cluster import ports

pytestmark = pytest.mark.campaign
SOON_S = 60.0
"""Within which it is told, on a busy machine too."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    return postgres.driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def database() -> Iterator[int]:
    with postgres.running() as port:
        yield port


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "PG", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture
def store(driver: str):
    """Return a function that says what the server is refused with for an address of PostgreSQL."""

    def ask(address: str, password: str = postgres.PASSWORD) -> str:
        began = time.monotonic()
        said = refused("--store", address, PYTHONPATH=driver, PGPASSWORD=password)
        assert time.monotonic() - began < SOON_S
        assert password not in said
        return said

    return ask


def test_a_postgresql_that_does_not_let_it_in(store, database, work):
    there = f"postgresql://marey@127.0.0.1:{database}"
    assert "Connection refused" in store(f"postgresql://marey@127.0.0.1:{ports.free(1)[0]}/runs")
    assert "password authentication failed for user" in store(f"{there}/postgres", "another than it has")
    assert 'database "absent" does not exist' in store(f"{there}/absent")
    assert not (work / "mlflow-server" / "login").exists()


def test_an_s3_that_does_not_take_artifacts(work):
    words = ("--artifacts", "s3://marey/artifacts")
    closed = s3.environment(f"http://127.0.0.1:{ports.free(1)[0]}")
    said = refused(*words, **closed)
    assert "artifacts cannot be written to s3://marey/artifacts (Could not connect to the endpoint URL" in said
    proxy = s3.Proxy()
    with proxy.serving():
        there = proxy.environment()
        assert "The specified bucket does not exist" in refused(*words, **there)
        code = "import fsspec; fsspec.filesystem('s3').mkdir('marey')"
        assert processes.run([sys.executable, "-c", code], env=os.environ | there).returncode == 0
        proxy.fail(r"^(PUT|POST) /marey/", status=403)
        assert "Access Denied): give --artifacts another place" in refused(*words, **there)
        proxy.heal()
        with served(*words, "--no-login", **there) as server:
            assert "artifacts: s3://marey/artifacts" in "".join(server.lines)
