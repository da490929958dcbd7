"""MLflow's store, as people have it: made by several at once, set up wrongly, damaged, locked, gone."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import processes
import pytest
from paths import ROOT
from small_dataset import write_dataset

from cluster.errors import ClusterError
from pipelines.errors import UserError
from pipelines.tracking import Tracker, open_store, resolve
from pipelines.tracking.failures import one_line
from pipelines.tracking.store import client

START = "import sys; from pathlib import Path; from pipelines.tracking import Tracker; "
SECONDS = 10
"""Within which a store that does not answer is told."""


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> bytes:
    """The content of a database with a run."""
    place = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Tracker.start(place, "waves", params={}, tags={}).end("FINISHED")
    return (place / "mlflow.db").read_bytes()


@pytest.fixture
def store(work, database):
    """A workspace with a run."""
    work.mkdir()
    (work / "mlflow.db").write_bytes(database)
    return work / "mlflow.db"


def environment(**variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | variables


def test_drivers_that_start_together_share_a_new_workspace(tmp_path):
    """Each would make the database, and the experiment in it."""
    name = "my work #1 50%"
    code = START + "Tracker.start(Path(sys.argv[1]), sys.argv[2], params={'a': 1}, tags={}).end('FINISHED')"
    names = ["one", "two"]
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-c", code, tmp_path / name]
        started = [
            stack.enter_context(processes.started([*command, run], env=environment(), stderr=subprocess.PIPE))
            for run in names
        ]
        errors = [process.communicate()[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    os.environ["MAREY_WORK"] = str(tmp_path / name)
    store = client(open_store(tmp_path / name))
    (experiment,) = [one for one in store.search_experiments() if one.name == "marey"]
    assert {run.info.run_name for run in store.search_runs([experiment.experiment_id])} == set(names)
    assert not list(tmp_path.glob("*/mlruns"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_database_is_the_same_for_a_worker_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    tracker = Tracker.start(tmp_path / "work", "waves", params={}, tags={})
    assert tracker.uri == f"sqlite:///{tmp_path}/runs.db"
    (tmp_path / "elsewhere").mkdir()
    code = START + "Tracker(sys.argv[1], sys.argv[2]).log_metrics({'loss': 1.0}, 1)"
    command = [sys.executable, "-c", code, tracker.uri, tracker.run_id]
    processes.run(command, cwd=tmp_path / "elsewhere", env=environment(), stderr=None)
    assert tracker.read_history() == {"loss": [(1, 1.0)]}
    assert not list((tmp_path / "elsewhere").iterdir())
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION" in os.environ


def test_nobody_else_can_read_what_is_made(work):
    tracker = Tracker.start(work, "waves", params={}, tags={})
    (work / "note.txt").write_text("a note")
    tracker.log_artifact(work / "note.txt")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (work, *work.iterdir())}
    assert modes.pop("note.txt")  # ours, by the umask
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert {"mlflow.db", "mlartifacts"} <= modes.keys()


def test_an_experiment_deleted_in_the_ui_is_told_and_can_be_restored(store, work):
    uri = f"sqlite:///{store}"
    experiment = client(uri).get_experiment_by_name("marey")
    client(uri).delete_experiment(experiment.experiment_id)
    with pytest.raises(UserError, match=r"experiment marey has been deleted in .*MLFLOW_EXPERIMENT_NAME") as told:
        open_store(work)
    command = str(told.value).partition("`")[2].partition("`")[0]
    restored = command.replace("mlflow ", f"{sys.executable} -m mlflow ", 1)
    subprocess.run(restored, shell=True, check=True, capture_output=True)
    open_store(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_account_without_a_name_and_a_home_has_runs_too():
    place = Path(tempfile.mkdtemp(prefix="marey-"))
    os.chown(place, 12345, 12345)
    code = START + "Tracker.start(Path(sys.argv[1]), 'waves', params={}, tags={}).end('FINISHED')"
    become = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    bare = {name: value for name, value in environment().items() if name not in ("HOME", "USER", "LOGNAME")}
    try:
        done = processes.run([*become, sys.executable, "-c", code, place / "work"], cwd="/", env=bare)
        assert done.returncode == 0, done.stderr
        with contextlib.closing(sqlite3.connect(place / "work" / "mlflow.db")) as connection:
            assert connection.execute("SELECT value FROM tags WHERE key = 'mlflow.user'").fetchall() == [("uid 12345",)]
    finally:
        shutil.rmtree(place)


def answering(status: int, body: bytes, headers: dict[str, str] | None = None):
    """A server that gives this answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"You are not authenticated.", "asks for a login: set MLFLOW_TRACKING_USERNAME"),
        (403, b"Invalid Host header", "refuses this account or its own name"),
        (404, b"<html>nothing here</html>", r"is not an MLflow server \(it answers 404\)"),
        (404, b'{"detail": "Not Found"}', "is not an MLflow server"),
        (200, b"<html>a page</html>", "is not an MLflow server"),
        (200, b"{}", "is not an MLflow server"),
        (503, b"starting", "answers with error 503"),
    ],
)
def test_a_server_that_is_no_store_is_one_sentence(work, monkeypatch, status, body, message):
    with answering(status, body) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{server.server_port}")
        begin = time.monotonic()
        with pytest.raises(ClusterError, match=message) as told:
            open_store(work)
        assert time.monotonic() - begin < SECONDS
        server.shutdown()
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_server_that_says_nothing_is_told_at_once(work, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        with pytest.raises(ClusterError, match="does not answer: start it, or correct MLFLOW_TRACKING_URI"):
            resolve("waves")
        assert time.monotonic() - begin < SECONDS
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "4"  # as for all of ours: that of the question is gone


def test_a_workflow_without_its_server_ends_before_ray_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    variables = environment(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}", RAY_TMPDIR=str(tmp_path / "ray"))
    words = ["train", "demo_tsn", "--set", f"data.dataset={write_dataset(tmp_path / 'data')}", "--set", "input.size=32"]
    done = processes.run([sys.executable, "-m", "pipelines", *words], cwd=tmp_path, env=variables)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]  # on a busy machine, one before it says what is waited for
    assert line.startswith(f"marey: no MLflow server answers at http://127.0.0.1:{port} (Connection refused): start it")
    assert not (tmp_path / "ray").exists()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "postgresql+psycopg2://user:secret@127.0.0.1:9/runs",
            "needs the package psycopg2: pip install psycopg2-binary",
        ),
        ("mysql://user:secret@127.0.0.1:9/runs", "needs the package MySQLdb: pip install mysqlclient"),
        ("nonsense://127.0.0.1/runs", "an address that MLflow does not know"),
    ],
)
def test_a_store_that_mlflow_cannot_reach_is_one_sentence(work, monkeypatch, uri, message):
    for driver in ("psycopg2", "MySQLdb"):
        if driver in message and importlib.util.find_spec(driver):
            pytest.skip(f"{driver} is installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=message) as told:
        open_store(work)
    assert "secret" not in str(told.value)


def change(store: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(statement)


DAMAGES = {
    "nonsense": lambda data: b"nonsense" * 2000,
    "cut": lambda data: data[: len(data) // 2],
    "cut in its head": lambda data: data[:60],
    "head": lambda data: b"\0" * 16 + data[16:],
    "pages": lambda data: data[:8192] + bytes(255 - byte for byte in data[8192:40960]) + data[40960:],
    "all pages but one": lambda data: data[:4096] + b"\xff" * (len(data) - 4096),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_one_sentence(store, work, damage):
    store.write_bytes(DAMAGES[damage](store.read_bytes()))
    for ask in (lambda: open_store(work), lambda: resolve("waves")):
        with pytest.raises(
            ClusterError, match=rf"MLflow's database {store} is damaged \(.*\): put a copy in its place"
        ):
            ask()


def test_a_damaged_name_that_sqlite_cannot_even_quote_is_one_sentence():
    damaged = pytest.raises(ClusterError, match=r"MLflow's database /data/mlflow.db is damaged")
    with damaged, one_line("sqlite:////data/mlflow.db"):
        b"t\xe5gs".decode()


def test_a_database_of_another_version_is_told_how_to_upgrade(store, work):
    change(store, "UPDATE alembic_version SET version_num = '451aebb31d03'")  # of MLflow 1.0
    change(store, "DROP TABLE trace_info")  # without which MLflow would migrate it, unasked
    before = store.read_bytes()
    with pytest.raises(UserError, match=rf"older version than MLflow .*`marey mlflow-server --check --store {store}`"):
        open_store(work)
    change(store, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(ClusterError, match="as of a newer version: install that one"):
        open_store(work)
    change(store, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert len(store.read_bytes()) == len(before)


def test_a_database_of_another_program_is_left_alone(work):
    work.mkdir()
    change(work / "mlflow.db", "CREATE TABLE birds (name TEXT)")
    before = (work / "mlflow.db").read_bytes()
    with pytest.raises(UserError, match="is a database of another program"):
        open_store(work)
    assert (work / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_database_is_told_in_seconds(store, work, lock):
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as holder:
        holder.execute(f"BEGIN {lock}")
        begin = time.monotonic()
        with pytest.raises(ClusterError, match=rf"MLflow's database {store} is locked: end the process that holds it"):
            open_store(work)
        assert time.monotonic() - begin < SECONDS
    open_store(work)
