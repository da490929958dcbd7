"""The cache of shards: what fits stays, nothing but its own is removed, and what it holds is what was written."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from small_dataset import write_dataset

from tasks.data import open_dataset, storage
from tasks.data.cache_ledger import CacheFolder
from tasks.data.shard import tar_path
from tasks.data.sidecar import read_sidecar
from tasks.errors import UserError

pytestmark = pytest.mark.quick

SHARDS = 3


@pytest.fixture
def source(small_root, tmp_path):
    """A dataset of three shards that is remote for marey, and a folder for the test."""
    shutil.copytree(small_root, tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A machine's cache with room for everything."""
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAREY_CACHE_GB", "1")
    return tmp_path / "cache" / "shards"


def sizes(source):
    return [os.path.getsize(tar_path(str(source), shard)) for shard in range(SHARDS)]


def read_all(source):
    """Open the dataset anew and read the first frame of every sample."""
    dataset = open_dataset(f"local://{source}")
    samples = [sample for part in dataset.parts for sample in dataset.samples(part)]
    return {(sample.video_id, sample.piece_index): dataset.rgb(sample, [0]).tobytes() for sample in samples}


def kept(cache):
    return sorted(path.name for path in cache.glob("*.tar"))


def shas(source):
    return sorted(f"{read_sidecar(str(source), shard).sha256}.tar" for shard in range(SHARDS))


def allow(monkeypatch, size):
    monkeypatch.setenv("MAREY_CACHE_GB", f"{size / 1e9:.9f}")


def test_a_shard_is_fetched_once(source, cache):
    first = read_all(source)
    assert kept(cache) == shas(source)
    for shard in range(SHARDS):
        os.unlink(tar_path(str(source), shard))
    assert read_all(source) == first
    assert [path.name for path in cache.iterdir() if path.name.endswith(".part")] == []


def test_what_does_not_fit_is_read_through_and_what_is_kept_stays(source, cache, monkeypatch):
    whole = read_all(source)
    shutil.rmtree(cache)
    allow(monkeypatch, sum(sizes(source)[:2]) + 1)
    for _ in range(3):
        assert read_all(source) == whole
        assert len(kept(cache)) == 2
        assert sum(file.stat().st_size for file in cache.glob("*.tar")) <= sum(sizes(source)[:2]) + 1
    inodes = {file.stat().st_ino for file in cache.glob("*.tar")}
    assert read_all(source) == whole
    assert {file.stat().st_ino for file in cache.glob("*.tar")} == inodes


def test_without_a_limit_and_for_a_local_dataset_there_is_none(source, cache, monkeypatch):
    open_dataset(str(source))
    monkeypatch.delenv("MAREY_CACHE_GB")
    read_all(source)
    assert not cache.exists()


@pytest.mark.parametrize("given", ["much", "-1", "inf", "nan"])
def test_a_size_that_is_none_is_refused(given, source, cache, monkeypatch):
    monkeypatch.setenv("MAREY_CACHE_GB", given)
    with pytest.raises(UserError, match=f"^MAREY_CACHE_GB is {given}: set it to the gigabytes"):
        open_dataset(f"local://{source}")


def test_a_shard_that_is_not_what_its_sum_says_is_not_kept(source, cache, caplog):
    tar = Path(tar_path(str(source), 0))
    content = bytearray(tar.read_bytes())
    content[-1] ^= 1  # in the padding: no frame is hurt
    tar.write_bytes(content)
    read_all(source)
    assert kept(cache) == sorted(name for name in shas(source) if name[:64] != read_sidecar(str(source), 0).sha256)
    assert "does not match its sha256" in caplog.text


def test_a_copy_that_has_changed_is_neither_read_nor_removed(source, cache):
    whole = read_all(source)
    for file in cache.glob("*.tar"):
        file.write_bytes(b"mine")
    assert read_all(source) == whole
    assert {file.read_bytes() for file in cache.glob("*.tar")} == {b"mine"}


def test_a_copy_that_is_damaged_under_a_reader_is_read_through(source, cache, caplog):
    dataset = open_dataset(f"local://{source}")
    sample = dataset.samples("train")[0]
    before = dataset.rgb(sample, range(sample.frames))
    for file in cache.glob("*.tar"):
        status = file.stat()
        with file.open("r+b") as content:
            content.seek(0)
            content.write(bytes(status.st_size))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert np.array_equal(dataset.rgb(sample, range(sample.frames)), before)
    assert "has been damaged" in caplog.text


def test_a_lost_ledger_costs_a_check_and_no_transfer(source, cache):
    whole = read_all(source)
    (cache / "ledger.json").write_text("{")
    for shard in range(SHARDS):
        os.unlink(tar_path(str(source), shard))
    assert read_all(source) == whole
    assert len(json.loads((cache / "ledger.json").read_text())) == SHARDS


def test_another_dataset_gets_the_room_of_one_that_nobody_reads(source, cache, tmp_path, monkeypatch):
    other = write_dataset(tmp_path / "other", videos=4)
    for mine in ("notes.tar", f"{'0' * 64}.tar"):
        cache.mkdir(parents=True, exist_ok=True)
        (cache / mine).write_bytes(b"mine")
    allow(monkeypatch, sum(sizes(source)))
    folder = CacheFolder(cache, 10**9)
    code = "from pathlib import Path; import test_shard_cache as t; t.read_all(Path({!r}))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}:{ROOT / 'tests' / 'helpers'}"}
    # In a process of its own, since a process that has read a dataset is taken to read on.
    subprocess.run([sys.executable, "-c", code.format(str(source))], env=environment, check=True, timeout=120)
    assert set(shas(source)) < set(kept(cache))
    reading = folder.read_on(_key(source))
    subprocess.run([sys.executable, "-c", code.format(str(other))], env=environment, check=True, timeout=120)
    assert set(shas(source)) < set(kept(cache))
    os.close(reading)
    subprocess.run([sys.executable, "-c", code.format(str(other))], env=environment, check=True, timeout=120)
    assert not set(shas(source)) <= set(kept(cache))
    assert {read_sidecar(other, 0).sha256 + ".tar", "notes.tar", f"{'0' * 64}.tar"} <= set(kept(cache))


def _key(source):
    import hashlib

    return hashlib.sha256(f"local://{source}".encode()).hexdigest()[:16]


def test_processes_share_it_and_what_a_killed_one_left_is_removed(source, cache):
    cache.mkdir(parents=True)
    left = cache / f".{'1' * 64}.{10**9}.part"
    left.write_bytes(b"half")
    code = "from pathlib import Path; import test_shard_cache as t; print(len(t.read_all(Path({!r}))))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}:{ROOT / 'tests' / 'helpers'}"}
    command = [sys.executable, "-c", code.format(str(source))]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == ["12\n", "12\n"]
    assert [process.returncode for process in both] == [0, 0]
    assert kept(cache) == shas(source)
    assert not left.exists()
    assert len(json.loads((cache / "ledger.json").read_text())) == SHARDS


def test_threads_wait_for_the_shard_that_one_of_them_fetches(source, cache):
    dataset = open_dataset(f"local://{source}")
    samples = [sample for part in dataset.parts for sample in dataset.samples(part)]
    found = {}

    def read(number):
        found[number] = [dataset.rgb(sample, [0]).tobytes() for sample in samples]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all(one == found[0] for one in found.values())
    assert kept(cache) == shas(source)


def test_a_folder_that_cannot_be_written_is_said_and_stops_nothing(source, cache, caplog):
    cache.parent.write_text("a file")
    read_all(source)
    assert "has no copy on this machine" in caplog.text
    assert storage.exists(str(source))
