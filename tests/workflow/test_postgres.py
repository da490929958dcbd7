"""MLflow's store in a PostgreSQL database, and what is said where it fails."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest
from paths import ROOT
from small_dataset import write_dataset

pytestmark = pytest.mark.campaign  # the database, its driver and a training: a minute or two
PASSWORD, QUOTED = "s3cret/&%", "s3cret%2F%26%25"
"""As it is, and as an address has it."""
SECONDS = 10
"""Within which a store that does not serve is told."""
INSTALLING_S = 180
STARTING_S = 60
ASK = """
import sys, time
from pathlib import Path
from pipelines.tracking.store import _client_class, open_store
_client_class()  # importing MLflow takes seconds on a busy machine
begin = time.monotonic()
try:
    open_store(Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
print(time.monotonic() - begin)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What PYTHONPATH needs for the driver; it is installed where the environment lacks it."""
    if importlib.util.find_spec("psycopg2"):
        return str(ROOT)
    place = tmp_path_factory.mktemp("driver")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, "psycopg2-binary"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING_S)
    if done.returncode:
        pytest.skip(f"psycopg2-binary cannot be installed: {done.stderr.splitlines()[-1:]}")
    return f"{ROOT}:{place}"


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a PostgreSQL server on loopback, as a user without privileges, with the role `marey`."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    root = os.geteuid() == 0
    if root and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no account postgres")
    place = Path(tempfile.mkdtemp(prefix="marey-postgres-"))
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}
    if root:
        shutil.chown(place, "postgres", "postgres")
    (place / "password").write_text(PASSWORD)
    (place / "password").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(name: str, *words: str) -> None:
        subprocess.run(
            [programs[-1] / name, "-D", place / "data", *words],
            cwd=place,
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=STARTING_S,
            **account,
        )

    try:
        run("initdb", "-U", "marey", "-A", "scram-sha-256", f"--pwfile={place / 'password'}", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "start", "-w", "-l", str(place / "log"), "-o", options)
        try:
            yield port
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(place)


def address(port: int, password: str = QUOTED, database: str = "postgres") -> str:
    return f"postgresql://marey:{password}@127.0.0.1:{port}/{database}"


def environment(driver: str, uri: str, place: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": driver, "MLFLOW_TRACKING_URI": uri, "MAREY_WORK": str(place / "work")}


def ask(driver: str, uri: str, place: Path) -> str:
    """What a store is said to be, in one line and in time."""
    done = processes.run([sys.executable, "-c", ASK, place / "work"], cwd=place, env=environment(driver, uri, place))
    assert done.returncode == 0, done.stderr
    *said, seconds = done.stdout.splitlines()
    assert len(said) <= 1
    assert not said or float(seconds) < SECONDS, said  # otherwise tables were made
    assert not [word for word in (PASSWORD, QUOTED, "Traceback") if word in done.stdout]
    return said[0] if said else ""


def query(driver: str, uri: str, statement: str) -> list[tuple[str, ...]]:
    code = (
        "import json, sys, psycopg2; c = psycopg2.connect(sys.argv[1]); c.autocommit = True; k = c.cursor(); "
        "k.execute(sys.argv[2]); print(json.dumps(k.fetchall() if k.description else []))"
    )
    done = processes.run([sys.executable, "-c", code, uri, statement], env=os.environ | {"PYTHONPATH": driver})
    assert done.returncode == 0, done.stderr
    return [tuple(row) for row in json.loads(done.stdout)]


def test_a_training_keeps_its_run_there(server: int, driver: str, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    words = ["train", "demo_tsn", "--set", f"data.dataset={dataset}", "--set", "input.size=32"]
    words += ["--set", "train.epochs=1", "--set", "name=there"]
    uri = address(server)
    done = processes.run(
        [sys.executable, "-m", "pipelines", *words], cwd=tmp_path, env=environment(driver, uri, tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert query(driver, uri, "SELECT status FROM runs WHERE name = 'there'") == [("FINISHED",)]
    assert query(driver, uri, "SELECT count(*) FROM metrics WHERE key = 'train/loss'") != [(0,)]
    assert not (tmp_path / "work" / "mlflow.db").exists()
    assert PASSWORD not in done.stdout + done.stderr
    assert QUOTED not in done.stdout + done.stderr
    written = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert not [path for path in written if QUOTED.encode() in path.read_bytes()]


def test_what_does_not_serve_is_one_line_in_time(server: int, driver: str, tmp_path: Path) -> None:
    said = ask(driver, address(server, "wrong"), tmp_path)
    assert said.startswith("ClusterError MLflow's database postgresql")
    assert "password authentication failed" in said
    assert 'database "absent" does not exist' in ask(driver, address(server, database="absent"), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "Connection refused" in ask(driver, address(port), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "does not answer: start it" in ask(driver, address(silent.getsockname()[1]), tmp_path)


def test_a_database_of_another_version_is_told_how_to_upgrade(server: int, driver: str, tmp_path: Path) -> None:
    query(driver, address(server), "CREATE DATABASE old")
    uri = address(server, database="old")
    assert ask(driver, uri, tmp_path) == ""
    (version,) = query(driver, uri, "SELECT version_num FROM alembic_version")
    query(driver, uri, "UPDATE alembic_version SET version_num = '451aebb31d03'")  # of MLflow 1.0
    assert "has the tables of an older version than MLflow" in ask(driver, uri, tmp_path)
    assert "`marey mlflow-server --check --store postgresql+psycopg2://" in ask(driver, uri, tmp_path)
    assert query(driver, uri, "SELECT version_num FROM alembic_version") == [("451aebb31d03",)]
    query(driver, uri, f"UPDATE alembic_version SET version_num = '{version[0]}'")
    assert ask(driver, uri, tmp_path) == ""


def test_another_program_keeps_its_database(server: int, driver: str, tmp_path: Path) -> None:
    query(driver, address(server), "CREATE DATABASE birds")
    uri = address(server, database="birds")
    query(driver, uri, "CREATE TABLE birds (name TEXT)")
    assert "is a database of another program" in ask(driver, uri, tmp_path)
