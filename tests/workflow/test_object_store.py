"""Preparation from and to an object store: a real S3 API that refuses, dawdles and cuts connections when told to."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from paths import ROOT
from processes import run, started

from pipelines import cli
from pipelines.compute import Progress
from pipelines.errors import UserError
from pipelines.prepare import PrepareResult, prepare
from pipelines.verify import verify
from tasks.data import PrepareSettings, exclusive, lock, open_dataset, shard, storage, tables
from tasks.data.process import Processed
from tasks.data.sidecar import read_sidecar, read_sidecars
from tasks.video import TVL1

SETTINGS = PrepareSettings(short_side=32, shard_videos=3, tvl1=TVL1(scales=2, warps=1, outer_iterations=2))
SOURCE = "s3://marey/videos"

pytestmark = pytest.mark.usefixtures("ray", "source")


@pytest.fixture(scope="module")
def source(s3, videos):
    """12 of the squares in the object store."""
    for part, count in (("train", 4), ("test", 2)):
        for label in ("blue", "red"):
            for number in range(count):
                name = f"{part}/{label}/{label}-{part}-{number}.mp4"
                storage.publish(f"{SOURCE}/{name}", videos / name)


@pytest.fixture(scope="module")
def whole(ray, source, tmp_path_factory) -> PrepareResult:
    """The same prepared to a local folder, without disturbance; tests only read it."""
    out = str(tmp_path_factory.mktemp("whole") / "out")
    return prepare(SOURCE, out, settings=SETTINGS, progress=False)


@pytest.fixture(scope="module")
def there(whole) -> PrepareResult:
    """The same prepared to the object store; tests leave it as it is."""
    return prepare(SOURCE, "s3://marey/there", settings=SETTINGS, progress=False)


@pytest.fixture
def out(s3, request):
    """An output of the test's own; what goes wrong with the store ends with the test."""
    yield f"s3://marey/{request.node.name}"
    s3.heal()


def names(out: str) -> list[str]:
    """Names of all objects among the shards."""
    return [name for name, _ in storage.entries(f"{out}/shards")] if storage.exists(f"{out}/shards") else []


def content(root: str) -> list[str]:
    """sha256 of each tar, as read, and as its sidecar says."""
    tars = [hashlib.sha256(storage.read_bytes(shard.tar_path(root, i))).hexdigest() for i in range(4)]
    assert tars == [sidecar.sha256 for sidecar in read_sidecars(root)]
    return tars


def refusal(source: str, out: str) -> str:
    with pytest.raises(UserError) as caught:
        prepare(source, out, settings=SETTINGS, progress=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_source_and_output_in_an_object_store(whole: PrepareResult, there: PrepareResult) -> None:
    assert (there.ok, there.failed, there.new_videos, there.digest) == (12, 0, 12, whole.digest)
    assert content(there.dataset) == content(whole.dataset)
    assert not verify(there.dataset, progress=False).differences
    found = [name for name, _ in storage.entries(there.dataset)]
    tables = ["dataset.json", "manifest.parquet", "records.parquet", "shards", "splits.parquet"]
    assert found == [".locks", *tables]
    assert "inside the source" in refusal("s3://marey", there.dataset)


def test_resuming_keeps_finished_shards(whole: PrepareResult, there: PrepareResult, s3) -> None:
    storage.remove(f"{there.dataset}/shards/000003.json")
    s3.requests.clear()
    again = prepare(SOURCE, there.dataset, settings=SETTINGS, progress=False)
    assert (again.ok, again.new_videos) == (12, 3)
    written = {request.line for request in s3.requests if request.line.startswith("PUT") and "/shards/" in request.line}
    assert written == {f"PUT /marey/there/shards/000003.{ending}" for ending in ("tar", "json")}
    assert content(there.dataset) == content(whole.dataset)


def test_refusals_and_slow_answers_are_survived(whole: PrepareResult, s3, out: str) -> None:
    faults = [
        s3.fail(r"GET /marey/videos/train/red/.*mp4", 3),
        s3.fail(r"PUT .*/shards/000001\.tar", 3),
        s3.fail(r"PUT .*/\.locks/", 2),
        s3.fail(r"GET .*list-type", 2),
        s3.fail(r"GET /marey/videos/train/blue/.*mp4", 2, delay_s=60),
        s3.fail(r"PUT .*/shards/000002\.tar", 2, delay_s=60),
        s3.fail(r"PUT .*/shards/000003\.json", 1, delay_s=60),
        s3.fail(r"PUT .*/shards/000000\.tar", 2, cut_after=2000),
    ]
    result = prepare(SOURCE, out, settings=SETTINGS, progress=False)
    assert [fault.met for fault in faults] == [fault.times for fault in faults]
    assert (result.ok, result.provisional) == (12, 0)
    assert content(out) == content(whole.dataset)


def test_the_answer_to_taking_the_lock_is_lost(s3, out: str) -> None:
    """The second attempt finds the lock, and must see that it is its own."""
    fault = s3.fail(r"PUT .*/\.locks/000001", 1, delay_s=60)
    with lock.Lock(out) as held:
        held.confirm()
    assert fault.met == 1


def test_a_connection_that_ends_in_mid_write_leaves_no_shard(
    whole: PrepareResult, s3, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["prepare", SOURCE, out, "--short-side", "32", "--shard-videos", "3"]
    line += ["--tvl1.scales", "2", "--tvl1.warps", "1", "--tvl1.outer-iterations", "2"]
    fault = s3.fail(r"PUT .*/shards/000002\.tar", cut_after=10_000)
    assert cli.main(line) == 2
    assert fault.met > 1
    (said,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("marey: ")]
    assert f"{out}/shards/000002.tar cannot be written" in said
    assert not {"000002.tar", "000002.json"} & set(names(out))
    committed = {name.removesuffix(".json") for name in names(out) if name.endswith(".json")}
    unfinished = {name for name, _ in storage.entries(f"{out}/.kept")} - committed
    made = 3 * len(committed) + sum(len(storage.entries(f"{out}/.kept/{name}")) for name in unfinished)
    assert made >= 6
    s3.heal()
    again = prepare(SOURCE, out, settings=SETTINGS, progress=False)
    assert (again.ok, again.new_videos) == (12, 12 - made)
    assert content(out) == content(whole.dataset)
    assert not storage.exists(f"{out}/.kept")


def test_a_large_shard_whose_upload_in_parts_is_cut(s3, out: str) -> None:
    noise = os.urandom(1 << 20) * 101  # s3fs writes 100 MiB and more in parts of 50 MiB
    record = {"video_id": "noise", "kind": ""}

    def write() -> dict:
        return shard.write_shard(out, shard.ShardPlan(0, (0,)), [Processed(record, [("noise.bin", noise)], {})], "")

    fault = s3.fail(r"PUT .*partNumber=2", cut_after=20_000_000)
    with pytest.raises(UserError, match=r"000000\.tar cannot be written"):
        write()
    assert fault.met > 1
    assert names(out) == []
    s3.heal()
    sidecar = write()
    assert hashlib.sha256(storage.read_bytes(shard.tar_path(out, 0))).hexdigest() == sidecar["sha256"]
    assert any("partNumber=3" in request.line for request in s3.requests)


def test_uploads_of_a_killed_driver_are_removed(s3, out: str, caplog: pytest.LogCaptureFixture) -> None:
    system = fsspec.filesystem("s3")
    keys = [f"{out}/shards/000000.tar", f"{out}-2/shards/000000.tar"]
    for key in (key.removeprefix("s3://marey/") for key in keys):
        system.call_s3("create_multipart_upload", Bucket="marey", Key=key)

    def left() -> set[str]:
        uploads = system.call_s3("list_multipart_uploads", Bucket="marey").get("Uploads", [])
        return {f"s3://marey/{upload['Key']}" for upload in uploads}

    for status, reason in ((403, "Access Denied"), (501, "not implemented")):
        s3.fail("DELETE", status=status)
        storage.sweep(f"{out}/shards")
        assert f"below {out}/shards cannot be removed ({reason}): let a lifecycle rule" in caplog.text
        assert left() == set(keys)
        s3.heal()
    storage.sweep(f"{out}/shards")
    assert left() == {keys[1]}


def test_a_store_that_goes_on_refusing(s3, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s3.fail(r"list-type")
    assert cli.main(["prepare", SOURCE, str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "marey: s3://marey/videos cannot be read: Please reduce your request rate\n"
    s3.heal()
    s3.fail("PUT", status=403)
    assert f"{out}/.locks/000001 cannot be written: Access Denied" in refusal(SOURCE, out)
    s3.heal()
    assert "s3://nothing/out/.locks/000001 cannot be written: The specified bucket does not exist" in refusal(
        SOURCE, "s3://nothing/out"
    )


def test_samples_are_read_by_their_ranges(whole: PrepareResult, there: PrepareResult, s3, out: str) -> None:
    local, dataset = open_dataset(whole.dataset), open_dataset(there.dataset)
    size = read_sidecar(there.dataset, 0).bytes
    for ours, theirs in zip(dataset.samples("test"), local.samples("test"), strict=True):
        s3.requests.clear()
        np.testing.assert_array_equal(dataset.rgb(ours, [0, 11]), local.rgb(theirs, [0, 11]))
        np.testing.assert_array_equal(dataset.flow(ours, [10]), local.flow(theirs, [10]))
        spans = [end - start for start, end in (ours.rgb_range, ours.flow_range)]
        assert [request.answered for request in s3.requests] == spans
        assert sum(spans) < size / 2.5
    s3.fail(r"GET .*\.tar")
    with pytest.raises(UserError, match=r"\.tar cannot be read: Please reduce"):
        dataset.rgb(dataset.samples("test")[0], [0])


def test_names_with_signs_that_urls_reserve(s3, videos: Path, tmp_path: Path) -> None:
    classes = ["a b#", "füße 走る"]
    files = [
        "1 # 2.mp4",
        "what?.mp4",
        "50%.mp4",
        "%41+&=.mp4",
        "[x]*{y}.mp4",
        "~'\";,@$!.mp4",
        "ümläut 行動.mp4",
        "a:b.avi",
    ]
    clip = (videos / "test/red/red-test-0.mp4").read_bytes()
    system = fsspec.filesystem("s3")
    for label in classes:
        system.pipe_file(f"marey/odd/{label}/", b"")  # consoles show a folder by such an object
        for name in files:
            system.pipe_file(f"marey/odd/{label}/{name}", clip)
    settings = PrepareSettings(short_side=32, flow="none")
    result = prepare("s3://marey/odd", str(tmp_path / "out"), settings=settings, progress=False)
    assert (result.ok, result.kinds) == (16, {})
    manifest = tables.read_table(result.dataset, "manifest").to_pylist()
    assert {row["uri"] for row in manifest} == {f"s3://marey/odd/{label}/{name}" for label in classes for name in files}


def test_a_second_driver_is_refused_and_follows_when_the_first_has_died(
    whole: PrepareResult, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
import sys
from pipelines.prepare import workflow as prepare
from tasks.data import PrepareSettings
from tasks.video import TVL1

def work(*arguments):
    print("at work", flush=True)
    sys.stdin.read()

prepare._make_shards = work
prepare.prepare({SOURCE!r}, {out!r}, settings={SETTINGS!r})
"""
    command = [sys.executable, "-c", code]
    with started(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdout.readline() == b"at work\n"
        assert f"another marey process, process {first.pid} on " in refusal(SOURCE, out)
        first.send_signal(signal.SIGKILL)
    path = f"{out}/.locks/000001"
    elsewhere = json.loads(storage.read_bytes(path)) | {"machine": "another"}  # here, a dead process holds nothing
    storage.publish(path, json.dumps(elsewhere).encode())
    assert f"at once when {path} is deleted" in refusal(SOURCE, out)
    storage.publish(path, json.dumps(elsewhere | {"time": time.time() - lock.STALE_S - 1}).encode())
    monkeypatch.setattr(lock, "WATCH_S", 0.0)
    assert prepare(SOURCE, out, settings=SETTINGS, progress=False).new_videos == 12
    assert content(out) == content(whole.dataset)
    assert [name for name, _ in storage.entries(f"{out}/.locks")] == ["000002"]


def test_a_driver_that_has_lost_its_lock_stops(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stolen, noticed, done = threading.Event(), threading.Event(), []
    refresh = lock.Lease.refresh

    def telling(self: lock.Lease) -> None:
        refresh(self)
        try:
            self.check()
        except UserError:
            noticed.set()

    class Robbed(Progress):
        def update(self, count: int = 1, note: str = "") -> None:
            super().update(count, note)
            done.append(self.done)
            if self.done == 4 and not stolen.is_set():
                thief = {"host": "elsewhere", "pid": 7, "token": "its own", "time": time.time()}
                assert exclusive.create(f"{out}/.locks/000002", json.dumps(thief).encode())
                stolen.set()
                assert noticed.wait(60)

    monkeypatch.setattr("pipelines.prepare.workflow.Progress", Robbed)
    monkeypatch.setattr(lock.Lease, "refresh", telling)
    monkeypatch.setattr(lock, "REFRESH_S", 0.05)
    said = refusal(SOURCE, out)
    assert f"lost its lock on {out} to process 7 on elsewhere" in said
    assert max(done) == 4
    assert not storage.exists(f"{out}/records.parquet")
    assert not json.loads(storage.read_bytes(f"{out}/.locks/000002")).get("free")


def test_packages_that_are_missing_are_named(tmp_path: Path) -> None:
    code = """
import sys
sys.modules.update(s3fs=None, gcsfs=None, huggingface_hub=None)
from pipelines import cli
for source in ("s3://bucket/videos", "gs://bucket/videos", "hf://datasets/a/videos"):
    print(cli.main(["prepare", source, sys.argv[1]]), cli.main(["prepare", sys.argv[1], source + "/out"]))
"""
    (tmp_path / "source").mkdir()
    ran = run([sys.executable, "-c", code, tmp_path / "out"], cwd=ROOT)
    assert ran.stdout == "2 2\n" * 3
    said = ran.stderr.splitlines()
    assert len(said) == 6
    for number, package in enumerate(("s3fs", "gcsfs", "huggingface_hub")):
        assert package in said[2 * number]
        assert "cannot be opened" in said[2 * number]
