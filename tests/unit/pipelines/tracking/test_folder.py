"""A folder of the workspace does the same on this machine and at an address."""

import json
import logging
import secrets

import fsspec
import pytest

from pipelines.errors import UserError
from pipelines.tracking import RunFolder, claim, progress, workspace
from pipelines.tracking.copies import fetch_file, fetch_folder, local_path
from pipelines.tracking.state import State
from pipelines.tracking.workspace import address_of, local_folder, make_workspace, upload
from tasks.data import storage

pytestmark = pytest.mark.quick


@pytest.fixture
def address():
    """An address of an object store within this process; workers of others would not see it."""
    return f"memory://{secrets.token_hex(4)}/runs/waves"


@pytest.fixture(params=["here", "there"])
def folder(request, tmp_path, address):
    return RunFolder(tmp_path / "runs" / "waves" if request.param == "here" else address)


@pytest.fixture
def work(monkeypatch, tmp_path):
    """A workspace at an address; nothing is asked of it here."""
    monkeypatch.setenv("MAREY_WORK", "s3://marey/deep/work/")
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    return "s3://marey/deep/work"


def test_files_are_replaced_listed_and_removed(folder):
    assert folder.read("queue/1") is None
    assert folder.files("queue") == []
    for name in ("queue/2", "queue/1", "queue/2"):
        folder.write(name, name.encode())
    assert folder.files("queue") == ["1", "2"]
    assert folder.read("queue/2") == b"queue/2"
    for _ in range(2):
        folder.remove("queue/1")
    assert folder.files("queue") == ["2"]
    assert folder.files() == []


def test_state_and_notes(folder):
    assert folder.read_state() is None
    folder.write_state(State("1", "d", {"name": "waves"}))
    assert RunFolder(folder.address).read_state() == State("1", "d", {"name": "waves"})
    assert not folder.is_asked_to_stop()
    folder.ask_to_stop()
    assert folder.is_asked_to_stop()
    folder.clear_stop()
    assert not folder.is_asked_to_stop()
    folder.write("run.json", b"{")
    with pytest.raises(UserError, match=rf"^{folder.address}/run.json is damaged .*, or delete {folder.address} to"):
        folder.read_state()


def test_a_folder_keeps_its_key(folder):
    key = claim.own_key(folder)
    assert claim.own_key(RunFolder(folder.address)) == key
    assert claim.own_key(RunFolder(f"{folder.address}-other")) != key
    for damage in (b"{", b"[]", b"{}"):
        folder.write(claim.KEY, damage)
        with pytest.raises(UserError, match=rf"^{folder.address}/key.json is damaged \(.*\): put a copy in its"):
            claim.own_key(folder)


def test_progress_at_an_address_is_read_from_now_on(address):
    folder = RunFolder(address)
    early = folder.follow_progress()
    assert list(early.new_reports()) == []
    with folder.write_progress() as writer:
        writer.add({"step": 1})
    late = folder.follow_progress()
    with folder.write_progress() as writer:  # of a rank 0 that was started anew
        writer.add({"step": 2})
        writer.add({"step": 3})
    assert list(early.new_reports()) == []  # it has asked a moment ago
    assert list(early.new_reports(last=True)) == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert list(late.new_reports(last=True)) == [{"step": 2}, {"step": 3}]
    assert list(late.new_reports(last=True)) == []


def test_only_the_last_reports_are_kept_at_an_address(address, monkeypatch):
    monkeypatch.setattr(progress, "KEPT", 3)
    folder = RunFolder(address)
    follower = folder.follow_progress()
    with folder.write_progress() as writer:
        for step in range(5):
            writer.add({"step": step})
    assert list(follower.new_reports(last=True)) == [{"step": 2}, {"step": 3}, {"step": 4}]
    with folder.write_progress() as writer:
        writer.add({"step": 5})
    assert list(follower.new_reports(last=True)) == [{"step": 5}]


def test_a_store_that_refuses_progress_stops_nothing(caplog):
    with caplog.at_level(logging.WARNING), progress.ProgressWriter("memory://") as writer:
        writer.add({"step": 1})
    assert "the progress cannot be shown" in caplog.text


def test_the_workspace_of_an_address_has_a_folder_in_the_cache(work, tmp_path):
    assert workspace() == work
    assert local_folder().parent == tmp_path / "cache" / "workspaces"
    assert local_path(f"{work}/runs/waves") == local_folder() / "runs" / "waves"
    assert address_of(local_folder() / "runs" / "waves") == f"{work}/runs/waves"
    assert local_path("s3://marey/deep/worker/x/c1").is_relative_to(tmp_path / "cache" / "copies")
    assert not (tmp_path / "cache").exists()


def test_a_folder_is_its_own_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    assert local_folder() == local_path(str(tmp_path)) == tmp_path
    assert address_of(tmp_path / "a") == str(tmp_path / "a")
    upload(tmp_path)
    assert fetch_folder(str(tmp_path), "result.json") == tmp_path


@pytest.mark.parametrize("given", ["https://host/work", "memory://work"])
def test_what_several_machines_cannot_write_is_refused(given, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", given)
    with pytest.raises(UserError, match=f"^the workspace {given} cannot be written by several machines: set"):
        workspace()


def test_credentials_in_its_address_are_refused(monkeypatch):
    monkeypatch.setenv("MAREY_WORK", "s3://key:secret@marey/work")
    with pytest.raises(UserError, match="credentials") as caught:
        workspace()
    assert "secret" not in str(caught.value)


def test_an_address_is_tried_and_left_as_it_was(address):
    make_workspace(address)
    assert not fsspec.filesystem("memory").find(address.partition("://")[2])
    with pytest.raises(UserError, match=r"cannot be opened.*nowhere"):
        make_workspace("nowhere://bucket/work")


def test_a_copy_is_kept_until_its_document_changes(work, address):
    def publish(document, weights):
        for name, text in {"checkpoint.json": document, "weights": weights}.items():
            storage.publish(f"{address}/c1/{name}", json.dumps(text).encode())

    def weights():
        return json.loads((fetch_folder(f"{address}/c1", "checkpoint.json") / "weights").read_text())

    with pytest.raises(UserError, match=rf"^there is no checkpoint\.json in {address}/c1"):
        weights()
    publish("first", 1)
    assert weights() == 1
    publish("first", 2)
    assert weights() == 1
    publish("second", 3)
    assert weights() == 3
    storage.publish(f"{address}/best.yaml", b"a")
    assert fetch_file(f"{address}/best.yaml").read_bytes() == b"a"
    storage.publish(f"{address}/best.yaml", b"b")
    assert fetch_file(f"{address}/best.yaml").read_bytes() == b"b"
    with pytest.raises(FileNotFoundError):
        fetch_file(f"{address}/other")


def test_a_checkpoint_is_there_once_its_document_is(work, address, tmp_path):
    folder, local = RunFolder(address), tmp_path / "made"
    local.mkdir()
    for name, text in {"checkpoint.json": "{}", "weights.safetensors": "w", "zeta": "z"}.items():
        (local / name).write_text(text)
    folder.store_checkpoint(local, "checkpoint-00000001")
    copy = folder.checkpoint("checkpoint-00000001")
    assert {file.name: file.read_text() for file in copy.iterdir()} == {
        file.name: file.read_text() for file in local.iterdir()
    }
