import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from paths import ROOT
from processes import started

from tasks.data import exclusive, lock, storage
from tasks.data.lock import Lock
from tasks.errors import UserError

pytestmark = pytest.mark.quick


class Plain(MemoryFileSystem):
    """A file system about which nothing is known."""

    protocol = "plain"


class Careless(MemoryFileSystem):
    """A store that is listed as honouring the condition, but ignores it."""

    protocol = "careless"

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        super().pipe_file(path, value)


@pytest.fixture
def out(tmp_path):
    """An output on an object store."""
    return f"memory://{tmp_path.name}/out"


def numbers(out):
    return [name for name, _ in storage.entries(f"{out}/.locks")]


def holder(out, number):
    return json.loads(storage.read_bytes(f"{out}/.locks/{number:06d}"))


def overwrite(out, number, **changes):
    content = holder(out, number) | changes
    storage.publish(f"{out}/.locks/{number:06d}", json.dumps(content).encode())


def test_second_writer_is_refused_until_the_first_is_gone(tmp_path):
    out = str(tmp_path / "out")
    code = (
        "import sys; from tasks.data.lock import Lock; l = Lock(sys.argv[1]); l.__enter__();"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, out]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another marey process"), Lock(out):
            pass
        other.kill()
    with Lock(out), pytest.raises(UserError, match="another marey process"), Lock(out):
        pass


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/marey")):
        with pytest.raises(UserError, match="cannot be written"), Lock(str(out)):
            pass


def test_an_object_store_is_locked_until_the_lock_is_given_back(out):
    with Lock(out) as held:
        held.check()
        held.confirm()
        with pytest.raises(UserError, match=f"another marey process, process {os.getpid()} on ") as refused, Lock(out):
            pass
        assert f"{out}/.locks/000001 is deleted" in str(refused.value)
        assert not holder(out, 1)["free"]
    assert holder(out, 1)["free"]
    with Lock(out), pytest.raises(UserError, match="another marey process"), Lock(out):
        pass
    assert numbers(out) == ["000002"]


def test_a_holder_says_that_it_is_at_work(out, monkeypatch):
    told = []
    monkeypatch.setattr(lock, "REFRESH_S", 0.001)
    publish = storage.publish

    def telling(path, content):
        publish(path, content)
        told.append(path)
        if len(told) == 3:
            third.set()

    third = threading.Event()
    monkeypatch.setattr(storage, "publish", telling)
    with Lock(out):
        before = holder(out, 1)["time"]
        assert third.wait(10)
        assert holder(out, 1)["time"] > before


def test_the_lock_of_a_dead_process_of_this_machine_is_free_at_once(out, monkeypatch):
    monkeypatch.setattr(lock, "WATCH_S", 600.0)
    with Lock(out) as dead:
        with started([sys.executable, "-c", ""]) as other:
            other.wait()
        for changes in ({"pid": other.pid}, {"started": "1"}):  # gone, or another process has its number by now
            overwrite(out, int(numbers(out)[0]), **changes)
            with Lock(out) as held:
                held.confirm()
        with pytest.raises(UserError, match="lost its lock"):
            dead.confirm()


@pytest.mark.parametrize("machine", ["", "0b9ea4f5 pid:[1]"], ids=["unknown", "another"])
def test_what_may_live_on_another_machine_is_waited_for(out, machine):
    with Lock(out):
        overwrite(out, 1, pid=2**22 + 1, machine=machine)
        with pytest.raises(UserError, match=r"process 4194305 on .* the same command continues after"), Lock(out):
            pass


def test_a_folder_that_machines_share_is_locked_on_all_of_them(tmp_path, monkeypatch):
    """What a second machine sees of the first one's lock: its files, and not the locks of its system."""
    monkeypatch.setattr(lock, "WATCH_S", 0.0)
    out = str(tmp_path)
    with Lock(out, machines=True) as first:
        with pytest.raises(UserError, match="another marey process: wait"), Lock(out, machines=True):
            pass
        (tmp_path / ".lock").unlink()
        overwrite(out, 1, machine="0b9ea4f5 pid:[1]")
        with pytest.raises(UserError, match=f"another marey process, process {os.getpid()}"), Lock(out, machines=True):
            pass
        overwrite(out, 1, machine="0b9ea4f5 pid:[1]", time=0.0)
        with Lock(out, machines=True), pytest.raises(UserError, match="lost its lock on"):
            first.confirm()


def test_a_killed_driver_does_not_lock_a_shared_folder(tmp_path):
    code = (
        "import sys; from tasks.data.lock import Lock; l = Lock(sys.argv[1], machines=True); l.__enter__();"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, tmp_path]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout.readline() == b"held\n"
        other.kill()
        other.wait()
        assert not holder(str(tmp_path), 1)["free"]
        with Lock(str(tmp_path), machines=True) as held:
            held.confirm()


def test_the_loss_of_a_lock_is_told_once(out, monkeypatch):
    monkeypatch.setattr(lock, "REFRESH_S", 0.001)
    told, calls = threading.Event(), []
    with Lock(out, lost=lambda: (calls.append(1), told.set())):
        storage.remove(f"{out}/.locks/000001")
        assert told.wait(30)
    assert calls == [1]


def test_the_lock_of_a_driver_that_died_is_taken_over(out, monkeypatch):
    monkeypatch.setattr(lock, "WATCH_S", 0.0)
    with Lock(out) as dead:
        overwrite(out, 1, time=time.time() - lock.STALE_S - 1)
        with Lock(out) as held:
            assert numbers(out) == ["000002"]
            held.confirm()
            # The other was not dead after all: it notices its loss, and leaves the lock alone.
            with pytest.raises(UserError, match=f"lost its lock on .* to process {os.getpid()} on"):
                dead.confirm()
            with pytest.raises(UserError, match="what was committed is kept"):
                dead.check()
            held.confirm()
    assert numbers(out) == ["000002"]


def test_a_lock_that_moves_while_it_is_watched_is_not_taken_over(out, monkeypatch):
    """The clocks of two machines are minutes apart."""
    with Lock(out) as held:
        overwrite(out, 1, time=time.time() - lock.STALE_S - 1)
        monkeypatch.setattr(time, "sleep", lambda seconds: held.confirm())
        with pytest.raises(UserError, match="another marey process"), Lock(out):
            pass
        held.confirm()


def test_of_two_that_take_over_one_gets_it(out, monkeypatch):
    monkeypatch.setattr(lock, "WATCH_S", 0.0)
    create = exclusive.create
    with Lock(out), ExitStack() as first:
        overwrite(out, 1, time=0.0)

        def late(path, content):  # the second has seen the dead one's lock; now the first overtakes it
            monkeypatch.setattr(exclusive, "create", create)
            first.enter_context(Lock(out))
            return create(path, content)

        monkeypatch.setattr(exclusive, "create", late)
        with pytest.raises(UserError, match="another marey process"), Lock(out):
            pass
        assert numbers(out) == ["000002"]
    assert holder(out, 2)["free"]


def test_a_lock_that_cannot_be_refreshed_is_lost_in_time(out, monkeypatch):
    with Lock(out) as held:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + lock.STALE_S + 1)
        with pytest.raises(UserError, match=r"could not refresh its lock on .* for 121 s"):
            held.check()
    assert not holder(out, 1)["free"]


def test_a_lock_that_was_deleted_by_hand_is_lost(out):
    with Lock(out) as held:
        storage.remove(f"{out}/.locks/000001")
        with pytest.raises(UserError, match="000001 was removed"):
            held.confirm()


def test_a_lock_that_is_none(out):
    storage.publish(f"{out}/.locks/000001", b"hello")
    with pytest.raises(UserError, match="000001 is not a lock of marey"), Lock(out):
        pass


@pytest.mark.parametrize("system", [Plain, Careless, MemoryFileSystem])
def test_a_file_system_that_cannot_lock_for_sure_is_said(system, tmp_path, caplog, monkeypatch):
    fsspec.register_implementation(system.protocol, system, clobber=True)
    monkeypatch.setattr(exclusive, "CONDITIONAL", {"memory", "careless"})
    out = f"{system.protocol}://{tmp_path.name}/out"
    with Lock(out) as held:
        held.confirm()
        with pytest.raises(UserError, match="another marey process"), Lock(out):
            pass
    warned = "one that starts at the same moment" in caplog.text
    assert warned == (system is not MemoryFileSystem)
