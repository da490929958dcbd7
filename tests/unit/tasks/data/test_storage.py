import os
from pathlib import Path

import pytest

from tasks.data import storage
from tasks.errors import UserError

pytestmark = pytest.mark.quick


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_publish_and_read(folder, tmp_path):
    path = storage.join(folder, "a.bin")
    assert not storage.exists(path)
    storage.publish(path, b"one")
    storage.publish(path, b"two")
    assert storage.read_bytes(path) == storage.read_small(path) == storage.open_whole(path)[:] == b"two"
    (tmp_path / "other").write_bytes(b"three")
    storage.publish(path, tmp_path / "other")
    assert storage.read_bytes(path) == b"three"
    assert ("a.bin", False) in storage.entries(folder)


def test_a_file_that_should_be_small(folder, tmp_path):
    path = storage.join(folder, "a.json")
    storage.publish(path, b"0123456789")
    assert storage.read_small(path, 10) == b"0123456789"
    with pytest.raises(ValueError, match="it has more than the 9 bytes that such a file may have"):
        storage.read_small(path, 9)
    with pytest.raises(FileNotFoundError):
        storage.read_small(storage.join(folder, "none"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        storage.read_small(str(tmp_path / "pipe"))


def test_many_files_come_in_the_order_asked_for(folder):
    paths = [storage.join(folder, f"{number}.bin") for number in range(3 * storage.READERS)]
    for number, path in enumerate(paths):
        storage.publish(path, b"%d" % number)
    assert [int(content) for content in storage.read_each(reversed(paths))] == [*reversed(range(len(paths)))]
    assert [*storage.read_each([])] == []
    following = storage.read_each([paths[0], storage.join(folder, "none"), paths[1]])
    assert next(following) == b"0"
    with pytest.raises(FileNotFoundError):
        next(following)


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


def test_unknown_addresses():
    with pytest.raises(UserError, match="cannot be opened"):
        storage.exists("nosuch://bucket/x")


def test_a_range_of_a_file(folder):
    path = storage.join(folder, "a.bin")
    storage.publish(path, b"0123456789")
    assert storage.read_bytes(path, 2, 5) == b"234"
    assert storage.read_bytes(path, 7) == b"789"


def test_what_is_no_folder_has_no_entries(folder):
    storage.publish(storage.join(folder, "a.bin"), b"one")
    with pytest.raises(UserError, match="is a file, not a folder"):
        storage.entries(storage.join(folder, "a.bin"))
    with pytest.raises(UserError, match="does not exist"):
        storage.entries(storage.join(folder, "none"))


def test_a_name_that_fsspec_would_misread():
    with pytest.raises(UserError, match=r"takes :: for a chain of file systems"):
        storage.exists("memory://folder/a::b.mp4")
