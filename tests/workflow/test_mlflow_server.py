"""`marey mlflow-server` on SQLite and disk: who gets in, what arrives where, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import old_mlflow
import psutil
import pytest
from mlflow_front import FIRST_S
from paths import ROOT
from processes import run
from shared_mlflow import COMMAND, refused, served

from cluster.errors import ClusterError
from pipelines.doctor.mlflow_store import tracking
from pipelines.tracking import Tracker
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.store import client


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


def test_clients_with_the_printed_lines_get_in_and_others_do_not(work, tmp_path, monkeypatch):
    with served() as server:
        variables = server.variables()
        assert variables["MLFLOW_TRACKING_URI"] == server.url
        password = variables["MLFLOW_TRACKING_PASSWORD"]
        assert len(password) > 12
        assert password not in "".join(server.lines)
        commands = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
        assert not [command for command in commands if password in command]
        open_to_others = [path for path in (work / "mlflow-server").rglob("*") if path.stat().st_mode & 0o077]
        assert not open_to_others

        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with pytest.raises(ClusterError, match="asks for a login: set MLFLOW_TRACKING_USERNAME"):
            Tracker.start(tmp_path / "client", "out", params={}, tags={})
        request = urllib.request.Request(f"{server.url}/api/2.0/mlflow/experiments/search?max_results=1")
        request.add_header("Host", "evil.example")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=FIRST_S)

        with pytest.raises(ClusterError, match="asks for a login"):
            list(tracking())

        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert list(tracking())[1].found == f"{server.url} answers and can be written (MLflow {mlflow.__version__})"
        (tmp_path / "note.txt").write_text("hello")
        tracker = Tracker.start(tmp_path / "client", "in", params={"lr": 1}, tags={})
        tracker.log_artifact(tmp_path / "note.txt", "notes")
        with Outbox(str(tmp_path / "metrics"), tracker.uri, tracker.run_id) as box:
            for step in range(1, 51):
                box.add({"loss": 1 / step}, step)
        tracker.end("FINISHED")
        assert [step for step, _ in tracker.read_history()["loss"]] == list(range(1, 51))
        (kept,) = (work / "mlflow-server" / "artifacts").rglob("note.txt")
        assert kept.read_text() == "hello"
        assert not (tmp_path / "client" / "mlartifacts").exists()
        (log,) = (work / "mlflow-server").glob("*.log")
        assert password not in log.read_text()

        colleague(server.url, monkeypatch)
        theirs = Tracker.start(tmp_path / "client", "theirs", params={}, tags={})
        theirs.log_artifact(tmp_path / "note.txt")
        theirs.end("FINISHED")


def colleague(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Become somebody to whom the administrator gives an account."""
    from mlflow.server import get_app_client

    get_app_client("basic-auth", tracking_uri=url).create_user("grace", "of her own choice")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "grace")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of her own choice")


def test_its_pages_work_by_the_names_it_was_given_and_by_no_others():
    """MLflow answers a page's POST only for a site that it knows, which is not the server's own by itself."""

    def search(host: str, origin: str) -> int:
        request = urllib.request.Request(f"{server.url}/ajax-api/2.0/mlflow/experiments/search", b'{"max_results": 1}')
        for name, value in (("Host", host), ("Origin", origin), ("Content-Type", "application/json")):
            request.add_header(name, value)
        try:
            return int(urllib.request.urlopen(request, timeout=FIRST_S).status)
        except urllib.error.HTTPError as error:
            return error.code

    with served("--no-login", "--allowed-hosts", "mlflow.lab") as server:
        assert search("mlflow.lab:5000", "http://mlflow.lab:5000") == 200
        assert search("mlflow.lab", "https://mlflow.lab") == 200
        assert search("mlflow.lab:5000", "http://evil.example") == 403
        assert search("evil.example", "http://evil.example") == 403


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_one_line_with_all_its_processes(number):
    with served("--no-login", "--workers", "2") as server:
        below = psutil.Process(server.process.pid).children(recursive=True)
        assert len(below) >= 4
        server.process.send_signal(number)
        said = server.process.stdout.read()
        assert server.process.wait(60) == 0
        assert said.splitlines()[-1:] == [
            "the MLflow server has ended; the same command starts it again, with all runs"
        ]
        assert not [one for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_password_other_than_the_first_is_refused(work, monkeypatch):
    with served(MLFLOW_AUTH_ADMIN_PASSWORD="the first of two") as server:
        assert server.variables()["MLFLOW_TRACKING_USERNAME"] == "marey"
        assert not (work / "mlflow-server" / "login").exists()
        assert "the first of two" not in "".join(server.lines)
    said = refused()
    assert "the database of the server knows marey by another password: give that one in" in said
    assert "at least 12 characters" in refused(MLFLOW_AUTH_ADMIN_USERNAME="ada", MLFLOW_AUTH_ADMIN_PASSWORD="short")
    with served(MLFLOW_AUTH_ADMIN_USERNAME="ada", MLFLOW_AUTH_ADMIN_PASSWORD="the second of two") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "the second of two")
        assert client(server.url).search_experiments()


def test_what_does_not_serve_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} cannot be used (Address already in use): choose another" in refused("--port", port)
    with sqlite3.connect(tmp_path / "birds.db") as birds:
        birds.execute("CREATE TABLE birds (name TEXT)")
    assert "is a database of another program" in refused("--store", str(tmp_path / "birds.db"))
    (tmp_path / "file").touch()
    said = refused("--artifacts", str(tmp_path / "file" / "below"))
    assert f"artifacts cannot be written to {(tmp_path / 'file' / 'below').as_uri()}" in said
    assert "give --artifacts another place" in said


def test_an_experiment_of_the_workspace_is_said_to_go_past_the_server(work):
    database = f"sqlite:///{work}/mlflow.db"
    work.mkdir()
    client(database).create_experiment("marey", artifact_location=(work / "mlartifacts").as_uri())
    with served("--store", database, "--no-login") as server:
        assert "the experiment marey keeps artifacts in file:///" in "".join(server.lines)
    assert Path(work / "mlflow.db").exists()


def version(file: Path) -> str:
    with sqlite3.connect(file) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_check_copies_an_older_database_and_brings_it_up_to_date_once(tmp_path):
    def check() -> str:
        done = run([*COMMAND, "--store", str(file), "--check"], cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, "")
        return str(done.stdout)

    file = tmp_path / "runs.db"
    assert check() == f"{file} does not exist yet: the server makes it, with the tables of this MLflow\n"
    assert not file.exists()
    old_mlflow.write(f"sqlite:///{file}")
    was = file.read_bytes()
    said = refused("--store", str(file))
    assert f"older version than MLflow {mlflow.__version__}: `marey mlflow-server --check --store {file}`" in said
    assert file.read_bytes() == was
    said = check()
    assert said.startswith(f"{file} was brought up to date; as it was, it is in {file}.before-")
    (copy,) = tmp_path.glob("runs.db.before-*")
    assert version(copy) == old_mlflow.older_version() != version(file)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert check() == f"{file} has the tables of this MLflow: nothing to do\n"
    assert len(list(tmp_path.glob("runs.db.before-*"))) == 1
    with served("--store", str(file), "--no-login") as server:
        assert client(server.url).get_experiment_by_name("old") is not None


def test_check_leaves_what_it_does_not_know_alone(tmp_path):
    file = tmp_path / "runs.db"
    old_mlflow.write(f"sqlite:///{file}")
    with sqlite3.connect(file) as database:
        database.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
        database.execute("DELETE FROM alembic_version WHERE version_num != 'ffffffffffff'")
    assert "as of a newer version: install that one, or set --store" in refused("--store", str(file), "--check")
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE alembic_version")
    assert "is a database of another program" in refused("--store", str(file), "--check")
    assert not list(tmp_path.glob("runs.db.before-*"))
