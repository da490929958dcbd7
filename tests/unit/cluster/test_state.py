"""What a workspace says of its cluster is believed only where this account wrote it, and leads nowhere else."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cluster import jobs, local, private, state
from cluster.errors import ClusterError

pytestmark = pytest.mark.quick


@pytest.fixture
def temp(monkeypatch):
    """Return a private folder as `up` makes it."""
    base = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(base))
    folder = private.make()
    folder.release()
    yield folder.path
    shutil.rmtree(base)


def document(temp, /, **changes):
    plain = {"address": "127.0.0.1:1", "dashboard": "http://127.0.0.1:1", "temp": str(temp), "nodes": []}
    return json.dumps(plain | changes)


def note(workspace, text, mode=0o600):
    path = workspace / "cluster.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_a_cluster_that_is_gone(tmp_path, temp):
    # The process of this test has the id, but not the start, of the node that was.
    note(tmp_path, document(temp, nodes=[{"pid": os.getpid(), "started": 1}]))
    state.mark(temp, tmp_path)
    assert local.last(tmp_path).address == "127.0.0.1:1"
    assert local.current(tmp_path) is None
    with pytest.raises(ClusterError, match="no cluster given"):
        jobs.target(None, None, tmp_path)
    assert local.down(tmp_path) == 0
    assert local.last(tmp_path) is None
    assert not temp.exists()


def test_a_process_that_is_no_node_is_left_alone(tmp_path, temp):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        note(tmp_path, document(temp, nodes=[{"pid": process.pid, "started": state.started(process.pid)}]))
        state.mark(temp, tmp_path)
        assert local.down(tmp_path) == 0
        assert process.poll() is None
        process.communicate(b"\n")


@pytest.mark.parametrize("marked", ["by nothing", "for another workspace"])
def test_a_private_folder_that_is_not_of_this_workspace_stays(tmp_path, temp, marked):
    if marked == "for another workspace":
        state.mark(temp, tmp_path / "other")
    note(tmp_path, document(temp))
    assert local.down(tmp_path) == 0
    assert temp.is_dir()
    assert not (tmp_path / "cluster.json").exists()


@pytest.mark.parametrize("victim", ["plain", "marey-ray-linkaaaa"])
def test_no_folder_of_the_users_is_removed(tmp_path, temp, victim):
    valuable = tmp_path / "valuable"
    valuable.mkdir(mode=0o700)
    state.mark(valuable, tmp_path)
    path = valuable
    if victim != "plain":
        path = tmp_path / victim
        path.symlink_to(valuable)
    note(tmp_path, document(path))
    if victim == "plain":
        with pytest.raises(ClusterError, match=r"cluster\.json does not describe a cluster .*: remove it"):
            local.down(tmp_path)
    else:
        local.down(tmp_path)
    assert (valuable / state.MARK).is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"dashboard": "http://192.0.2.1:8265"},
        {"dashboard": "http://127.0.0.1@evil.example:8265"},
        {"dashboard": "http://127.0.0.1:8265/../x"},
        {"dashboard": "file:///etc/passwd"},
        {"dashboard": "http://localhost.evil.example:80"},
        {"dashboard": None},
        {"address": "192.0.2.1:6379"},
        {"address": "127.0.0.1"},
        {"address": 7},
        {"temp": "marey-ray-aaaaaaaa"},
        {"temp": "/home/marey-ray-aaaaaaaa/../marey-ray-bbbbbbbb"},
        {"temp": []},
        {"nodes": "x"},
        {"nodes": [1]},
        {"nodes": [{"pid": 1, "started": 1}]},
        {"nodes": [{"pid": -1, "started": 1}]},
        {"nodes": [{"pid": True, "started": 1}]},
        {"nodes": [{"pid": 7}]},
        {"token_path": "/etc/hostname"},
    ],
)
def test_what_leads_elsewhere_is_refused(tmp_path, temp, changes):
    note(tmp_path, document(temp, **changes))
    for call in (local.last, local.down, lambda workspace: jobs.target(None, None, workspace)):
        with pytest.raises(ClusterError, match=r"cluster\.json does not describe a cluster that was started here"):
            call(tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"address": 1e999}'],
    ids=lambda text: repr(text[:9]),
)
def test_what_is_damaged_is_refused_in_one_line(tmp_path, text):
    note(tmp_path, text)
    with pytest.raises(ClusterError, match=r"cluster\.json does not describe a cluster") as caught:
        local.down(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_others_can_write_or_has_come_in_an_archive_is_refused(tmp_path, temp):
    refused = pytest.raises(ClusterError, match="is not a file that this account alone can read and write")
    path = note(tmp_path, document(temp), mode=0o644)
    with refused:
        local.last(tmp_path)
    path.unlink()
    path.mkdir()
    with refused:
        local.last(tmp_path)
    path.rmdir()
    path.symlink_to(note(temp, document(temp)))
    with pytest.raises(ClusterError, match=r"cannot read .*cluster\.json"):
        local.last(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another account owns")
def test_another_accounts_workspace(tmp_path, temp):
    os.chown(note(tmp_path, document(temp)), 12345, 12345)
    with pytest.raises(ClusterError, match="is not a file that this account alone can read and write"):
        jobs.target(None, None, tmp_path)
    assert jobs.target("http://head:8265", None, tmp_path).url == "http://head:8265"
    (tmp_path / "cluster.json").unlink()
    (tmp_path / "cluster").mkdir()
    os.chown(tmp_path / "cluster", 12345, 12345)
    with pytest.raises(ClusterError, match="belongs to another account: set MAREY_WORK to a workspace of your own"):
        local.up(tmp_path, 1)


@pytest.mark.parametrize("place", ["file", "/proc/nothing"])
def test_a_workspace_that_cannot_be_written(tmp_path, place):
    workspace = tmp_path / place
    if place == "file":
        workspace.touch()
    with pytest.raises(ClusterError, match=f"cannot write {workspace}/cluster .*: set MAREY_WORK"):
        local.up(workspace, 1)
