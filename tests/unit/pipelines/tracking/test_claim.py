"""Waiting for a folder whose driver has died."""

import subprocess
import sys
import threading

import processes
import pytest

from pipelines.errors import UserError
from pipelines.tracking import claim

pytestmark = pytest.mark.quick

HOLDING = (
    "import sys; from tasks.data.lock import Lock\nwith Lock(sys.argv[1], machines=True): print(); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Return a process that holds the folder `run` of the workspace until its input ends."""
    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    command = [sys.executable, "-c", HOLDING, tmp_path / "run"]
    with processes.started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        yield process


def test_a_folder_is_waited_for_until_its_driver_has_ended(holder, tmp_path):
    waiting = threading.Thread(target=claim.await_free, args=(str(tmp_path / "run"),))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    holder.kill()
    waiting.join(processes.ENDING_S)
    assert not waiting.is_alive()
    claim.await_free(str(tmp_path / "other"))


def test_a_driver_that_lives_is_waited_for_no_longer_than_a_dead_one_looks_alive(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "DEATH_S", 0.0)
    with pytest.raises(UserError, match="is being written by another marey process"):
        claim.await_free(str(tmp_path / "run"))
