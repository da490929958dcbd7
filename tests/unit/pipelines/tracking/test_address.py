"""The address of MLflow's store: absolute, refused where no store can be there, shown without passwords."""

from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.tracking.address import database_file, shown, tracking_uri
from pipelines.tracking.tracker import refuse_shared_sqlite

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("name", ["work", "my work", "a#b", "50%", "ü-ü"])
def test_the_workspace_has_a_database_of_its_own(tmp_path, name):
    assert database_file(tracking_uri(tmp_path / name)) == tmp_path / name / "mlflow.db"


@pytest.mark.parametrize("name", ["what?", "a%41b"])
def test_a_path_that_no_database_can_have_is_refused(tmp_path, monkeypatch, name):
    with pytest.raises(UserError, match=r"cannot hold: set MAREY_WORK to another folder"):
        tracking_uri(tmp_path / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere:5000")
    assert tracking_uri(tmp_path / name) == "http://somewhere:5000"


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:///deep/er.db?timeout=9", "sqlite:///{here}/deep/er.db?timeout=9"),
        ("sqlite+pysqlite:///mlflow.db", "sqlite+pysqlite:///{here}/mlflow.db"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("postgresql://user@host/runs", "postgresql://user@host/runs"),
        ("  http://host:5000 ", "http://host:5000"),
    ],
)
def test_a_relative_path_means_the_same_in_every_folder(tmp_path, monkeypatch, given, absolute):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert tracking_uri(tmp_path / "work") == absolute.format(here=Path.cwd())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("./mlruns", "MLflow 3 keeps runs in no folder"),
        ("file:///data/mlruns", "MLflow 3 keeps runs in no folder"),
        ("localhost:5000", "without its protocol: set it to http://localhost:5000"),
        ("sqlite:////tmp", "a folder, and a database is a file: set it to sqlite:////tmp/mlflow.db"),
        ("sqlite://", "a database that ends with each process"),
        ("sqlite:///:memory:", "a database that ends with each process"),
    ],
)
def test_what_is_no_address_is_refused(tmp_path, monkeypatch, given, message):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(UserError, match=message):
        tracking_uri(tmp_path)


def test_a_password_is_not_shown():
    assert shown("postgresql://user:secret@host:5432/runs") == "postgresql://host:5432/runs"
    assert shown("https://user:secret@host/mlflow") == "https://host/mlflow"
    assert shown("sqlite:////data/mlflow.db?timeout=9") == "/data/mlflow.db"


def test_a_file_on_one_machine_serves_no_others():
    refuse_shared_sqlite("sqlite:////data/mlflow.db", 1)
    refuse_shared_sqlite("http://host:5000", 2)
    with pytest.raises(UserError, match=r"2 machines, and MLflow's database is a file on this one \(/data/mlflow.db\)"):
        refuse_shared_sqlite("sqlite:////data/mlflow.db", 2)
