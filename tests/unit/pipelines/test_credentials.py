"""Credentials in addresses: refused before anything is stored, and repeated nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines import cli

pytestmark = pytest.mark.quick

ADDRESSES = (
    "http://user:secret@127.0.0.1:9/a",
    "s3://AKIA:secret@bucket/a",
    "https://127.0.0.1:9/a?X-Amz-Signature=secret",
    "https://127.0.0.1:9/a?access_token=secret&part=1",
)


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def refused(capfd: pytest.CaptureFixture[str], *words: str, naming: str = "was given with credentials") -> None:
    assert cli.main(words) == 2
    out, errors = capfd.readouterr()
    assert naming in errors
    assert "secret" not in out + errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_word_of_the_command_line(address, capfd, tmp_path):
    for words in (
        ("prepare", address, "out"),
        ("prepare", "videos", address),
        ("evaluate", "run", address),
        ("predict", "run", address),
        ("train", "demo_tsn", "--set", f"data.dataset={address}"),
        ("submit", "--", "train", "demo_tsn", "--set", f"model.weights={address}"),
    ):
        refused(capfd, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("field", ["data.dataset", "data.source", "model.weights"])
def test_a_recipe(field, address, capfd, tmp_path):
    recipe = {"name": "x", "data": {"dataset": "out"}, "model": {"name": "tsn"}}
    section, _, key = field.partition(".")
    recipe[section][key] = address  # type: ignore[index]
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    refused(capfd, "run", "recipe.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_table_of_videos(address, capfd, tmp_path):
    Path("videos.csv").write_text(f"path,label\n{address},wave\n")
    refused(capfd, "prepare", "videos.csv", "out", "--layout", "csv")
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("uri", ["http://user:secret@host:5000", "postgresql://user:secret@host/runs"])
def test_the_record_of_a_job(uri, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    refused(capfd, "submit", "--", "train", "demo_tsn", naming="which the record of the job would show")


def test_the_address_of_the_store_is_shown_without_its_password(capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@host:5000")
    assert cli.main(["ui"]) == 0
    out, errors = capfd.readouterr()
    assert "http://host:5000" in out
    assert "secret" not in out + errors
