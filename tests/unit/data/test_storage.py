import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.data import storage
from tasks.errors import UserError

pytestmark = pytest.mark.quick
ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_publish_and_read(folder, tmp_path):
    path = storage.join(folder, "a.bin")
    assert not storage.exists(path)
    storage.publish(path, b"one")
    storage.publish(path, b"two")
    assert storage.read_bytes(path) == bytes(storage.view(path)) == b"two"
    (tmp_path / "other").write_bytes(b"three")
    storage.publish(path, tmp_path / "other")
    assert storage.read_bytes(path) == b"three"
    assert ("a.bin", False) in storage.entries(folder)


def test_an_exception_leaves_what_was_there(folder):
    path = storage.join(folder, "a.bin")
    storage.publish(path, b"old")

    def fail():
        with storage.writing(path) as aside:
            Path(aside).write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert storage.read_bytes(path) == b"old"
    assert [name for name, _ in storage.entries(folder)] == ["a.bin"]


def test_sweep_removes_what_killed_writers_left(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"good")
    (tmp_path / ".a.bin.0123abcd.tmp").write_bytes(b"half")
    storage.sweep(str(tmp_path))
    assert os.listdir(tmp_path) == ["a.bin"]


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("x/../y/") == str(tmp_path / "y")
    assert storage.absolute("s3://bucket/set/") == "s3://bucket/set"
    assert storage.join("/a/", "b", "", "c") == "/a/b/c"
    assert bytes(storage.view(__file__))[:6] == b"import"


def test_second_writer_is_refused_until_the_first_is_gone(tmp_path):
    out = str(tmp_path / "out")
    code = (
        "import sys; from tasks.data.storage import Lock; l = Lock(sys.argv[1]); l.__enter__();"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another marey process"), storage.Lock(out):
            pass
        other.kill()
    with storage.Lock(out), pytest.raises(UserError, match="another marey process"), storage.Lock(out):
        pass


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/marey")):
        with pytest.raises(UserError, match="cannot be written"), storage.Lock(str(out)):
            pass


def test_unknown_addresses():
    with pytest.raises(UserError, match="cannot be opened"):
        storage.exists("nosuch://bucket/x")
