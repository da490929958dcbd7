"""MLflow's store in a PostgreSQL database, and what is said where it fails."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import postgres
import processes
import pytest
from postgres import PASSWORD, QUOTED, address, query
from small_dataset import write_dataset

pytestmark = pytest.mark.campaign  # the database, its driver and a training: a minute or two
SECONDS = 10
"""Within which a store that does not serve is told."""
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
    return postgres.driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with postgres.running() as port:
        yield port


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
