"""`auto`: what counts as the cluster of this machine, and what is said within seconds where there is none."""

import os
import shutil
import subprocess
import time

import pytest

from cluster import running
from cluster.attach import attach
from cluster.errors import ClusterError

pytestmark = pytest.mark.quick


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Return the file in which `ray start` notes its address."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


@pytest.mark.parametrize("address", ["auto", None])
def test_a_cluster_that_was_killed(noted, address):
    noted.write_text("127.0.0.1:9\n")
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        attach(address)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("content", [b"", b"\xff", b"no address", b"127.0.0.1:9 x", b"http://a:1"])
def test_a_damaged_note(noted, content):
    noted.write_bytes(content)
    with pytest.raises(ClusterError, match=f"{noted} holds no address"):
        attach("auto")


def test_a_note_that_cannot_be_read(noted):
    noted.mkdir()
    with pytest.raises(ClusterError, match=f"cannot read {noted}"):
        attach("auto")


@pytest.mark.parametrize(("address", "counts"), [("192.0.2.1:6379", True), ("127.0.0.1:9", False), ("[::1]:9", False)])
def test_nodes_that_run_here_count_unless_they_are_another_runs(tmp_path, address, counts):
    shell = shutil.copy("/bin/bash", tmp_path / "raylet")
    with subprocess.Popen([shell, "-c", "read", f"--gcs-address={address}"], stdin=subprocess.PIPE) as node:
        assert (address in running.of_nodes()) is counts
        node.communicate(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another account owns")
def test_a_note_of_another_account(noted):
    noted.write_text("127.0.0.1:9")
    os.chown(noted, 12345, 12345)
    with pytest.raises(ClusterError, match="belongs to another account"):
        attach("auto")
