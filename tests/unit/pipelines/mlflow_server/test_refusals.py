"""What `marey mlflow-server` refuses before anything is started, and by which names it may be asked."""

from __future__ import annotations

import os
import socket

import pytest
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

from cluster.errors import ClusterError
from cluster.login import given
from cluster.mlflow import serve
from pipelines import cli
from pipelines.errors import UserError
from pipelines.mlflow_server.hosts import allowed_hosts, allowed_origins, client_url
from pipelines.mlflow_server.places import login_of, places

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--no-login", "--host", "0.0.0.0"], "--no-login lets all who reach 0.0.0.0 change and delete the runs"),
        (["--no-login", "--host", "::"], "leave out --no-login, or --host"),
        (["--store", "http://host:5000"], "--store is http://host:5000, and the server keeps runs in SQLite or"),
        (["--store", "mysql://host/runs"], "--store is mysql://host/runs, and the server keeps runs in SQLite or"),
        (["--store", ""], "--store is empty"),
        (["--store", "sqlite://"], "--store is sqlite://, a database that ends with each process"),
        (["--store", "/tmp"], "--store is sqlite:////tmp, a folder"),
        (["--store", "a?b.db"], "has a ? or a % in its path, which the address of MLflow's database cannot hold"),
        (["--store", "postgresql://u:secret@host/runs"], "for PostgreSQL, PGPASSWORD"),
        (["--artifacts", "s3://key:secret@bucket/a"], "was given with credentials"),
        (["--workers", "0"], "workers must be at least 1, not 0"),
        (["--store", "nowhere/runs.db"], "nowhere, the folder of the database in --store, does not exist: make it"),
        (["--store", "postgresql+nothing://host/runs"], "--store is postgresql+nothing://host/runs, an address that"),
    ],
)
def test_one_line_and_nothing_made(words, says, capfd, tmp_path):
    assert cli.main(["mlflow-server", *words]) == 2
    out, errors = capfd.readouterr()
    assert says in errors
    assert errors.count("\n") == 1
    assert "secret" not in out + errors
    assert not list((tmp_path / "work" / "mlflow-server").glob("*"))


def test_places_by_default_and_by_variable(monkeypatch, tmp_path):
    found = places(None, None)
    folder = tmp_path / "work" / "mlflow-server"
    assert (found.store, found.artifacts) == (f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())
    assert places("runs.db", "s3://bucket/a").store == f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql+psycopg2://u:secret@host/runs")
    found = places(None, None)
    assert (found.store, found.store_name) == ("postgresql+psycopg2://u:secret@host/runs", "MLFLOW_BACKEND_STORE_URI")
    monkeypatch.setenv("MAREY_WORK", "s3://bucket/work")
    assert places(None, None).artifacts == "s3://bucket/work/mlflow-server/artifacts"
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    with pytest.raises(UserError, match="the workspace s3://bucket/work cannot hold the server's database"):
        places(None, None)


def test_the_login_comes_from_the_environment_or_a_file_of_its_own(monkeypatch, tmp_path):
    made, word = login_of(places(None, None))
    file = tmp_path / "work" / "mlflow-server" / "login"
    assert file.stat().st_mode & 0o777 == 0o600
    assert made.password in file.read_text()
    assert str(file) in word
    assert made.password not in word
    assert login_of(places(None, None))[0].password == made.password
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_USERNAME", "ada")
    with pytest.raises(ClusterError, match="is set without MLFLOW_AUTH_ADMIN_PASSWORD"):
        given()
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "of the environment")
    login, word = login_of(places(None, None))
    assert (login.name, login.password) == ("ada", "of the environment")
    assert login.password not in word


@pytest.mark.parametrize(
    ("names", "host", "allowed", "refused"),
    [
        ((), "127.0.0.1", ["localhost:5000", "127.0.0.1:5000", "[::1]:5000"], ["10.0.0.1:5000", "evil.example:5000"]),
        ((), "0.0.0.0", ["127.0.0.1:5000", f"{socket.gethostname()}:5000"], ["evil.example:5000", "192.0.2.9:5000"]),
        ((), "192.0.2.7", ["192.0.2.7:5000"], ["192.0.2.8:5000"]),
        ((), "2001:db8::7", ["[2001:db8::7]:5000"], ["[2001:db8::8]:5000"]),
        (("lab",), "0.0.0.0", ["lab", "lab:5000", "localhost:5000"], ["10.0.0.1:5000", "lab.example:5000"]),
        (("lab:80", "*.lab"), "0.0.0.0", ["lab:80", "a.lab"], ["lab:5000", "a.lab:5000"]),
        (("*",), "0.0.0.0", ["anything"], []),
    ],
)
def test_allowed_hosts_as_mlflow_reads_them(names, host, allowed, refused):
    patterns = ",".join(allowed_hosts(names, host)).split(",")
    assert [name for name in allowed if not is_allowed_host_header(patterns, name)] == []
    assert [name for name in refused if is_allowed_host_header(patterns, name)] == []


def test_mlflows_variable_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "lab.example, other:*")
    patterns = allowed_hosts((), "0.0.0.0")
    assert {"lab.example", "other:*", "localhost:*"} <= set(patterns)
    assert not is_allowed_host_header(list(patterns), "lab.example:5000")


@pytest.mark.parametrize(
    ("names", "own", "foreign"),
    [
        (
            ("lab",),
            ["http://lab:5000", "https://lab", "http://localhost:5000"],
            ["http://evil.example", "http://lab.evil"],
        ),
        (("[2001:db8::7]",), ["http://[2001:db8::7]:5000"], ["http://[2001:db8::8]:5000"]),
        (("*",), ["http://127.0.0.1:5000"], ["http://evil.example"]),
        ((), [f"http://{socket.gethostname()}:5000"], ["http://evil.example"]),
    ],
)
def test_its_own_pages_may_change_something_and_no_others(names, own, foreign):
    patterns = list(allowed_origins(allowed_hosts(names, "0.0.0.0")))
    assert [origin for origin in own if should_block_cors_request(origin, "POST", patterns)] == []
    assert [origin for origin in foreign if not should_block_cors_request(origin, "POST", patterns)] == []


def test_the_address_for_clients():
    assert client_url("127.0.0.1", 5000, ()) == "http://127.0.0.1:5000"
    assert client_url("::1", 5000, ()) == "http://[::1]:5000"
    assert client_url("192.0.2.7", 5000, ()) == "http://192.0.2.7:5000"
    assert client_url("0.0.0.0", 5000, ()) == f"http://{socket.getfqdn()}:5000"
    assert client_url("0.0.0.0", 5000, ("*.lab", "mlflow.lab")) == "http://mlflow.lab:5000"
    assert client_url("0.0.0.0", 5000, ("mlflow.lab:80",)) == "http://mlflow.lab:80"


@pytest.mark.parametrize("host", ["192.0.2.7", "nowhere.invalid"])
def test_a_host_of_another_machine(host, tmp_path):
    from cluster.mlflow import Service

    (tmp_path / "mlflow.db").touch()
    with pytest.raises(ClusterError, match=f"{host} is not an address of this machine .*: give --host one that is"):
        serve(f"sqlite:///{tmp_path}/mlflow.db", 0, tmp_path, None, Service(host=host)).__enter__()
