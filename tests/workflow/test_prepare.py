"""Preparation on a real Ray: results, long videos, odd files, estimates."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import processes
import pytest
from paths import ROOT, VIDEOS
from prepared import prepare_here
from squares import SETTINGS, broken, shards

from pipelines import cli
from pipelines.prepare import PrepareResult, estimate, prepare
from pipelines.prepare import scheduler as prepare_tasks
from pipelines.prepare.workflow import listing
from pipelines.verify import verify
from tasks.data import PrepareSettings, open_dataset, shard, tables
from tasks.data.layouts import folder
from tasks.data.sidecar import read_sidecars
from tasks.video.codecs import write_mp4

pytestmark = pytest.mark.usefixtures("ray")

ODD = VIDEOS / "odd_files"

ODD_KINDS = {
    "truncated": {"bitflips.mp4", "fixture_fixture2.mkv"},
    "empty": {"zero_length.mp4", "media_doc_medias_result.webm"},
    "unreadable": {
        "html_error_page.mp4",
        "random_bytes.avi",
        "trunc_header_only.avi",
        "fixture_fixture-dash.mp4",
        "fixture_fixture-isomv2.mp4",
        "fixture_fixture-moov.mov",
        "fixture_fixture.ogv",
    },
    "no_video": {
        "fixture_fixture-bad-offset.mp3",
        "fixture_fixture-mp4v2.mp4",
        "fixture_fixture.mp3",
        "media_rain.mp3",
        "test_resources_nasa_13013.mp4.audio_44100.mp3",
        "test_resources_sine_mono_s32.wav",
        "test_resources_sine_mono_s32_8000.wav",
    },
    "too_short": {
        "fixture_fixture-2.m4v",
        "fixture_fixture-imovie.mp4",
        "fixture_fixture.avi",
        "fixture_fixture.gif",
        "fixture_fixture.mkv",
        "fixture_fixture.webm",
        "fixture_fixture.wmv.asf",
    },
}
"""Every odd file that is no video of two frames; the others are ok."""


def test_every_video_has_a_record_frames_and_flow(whole: PrepareResult) -> None:
    assert (whole.ok, whole.failed, whole.new_videos, whole.provisional) == (40, 0, 40, 0)
    assert (whole.frames, whole.pairs) == (40 * 12, 40 * 11)
    records = tables.read_table(whole.dataset, "records").to_pylist()
    assert len({record["video_id"] for record in records}) == 40
    assert {(record["status"], record["frames"], record["flows"]) for record in records} == {("ok", 12, 11)}
    assert len(list((Path(whole.dataset) / "shards").glob("*.tar"))) == 5
    assert not verify(whole.dataset, progress=False).differences


def test_a_second_call_finds_nothing_to_do(whole: PrepareResult, videos: Path) -> None:
    before = shards(whole.dataset)
    again = prepare(str(videos), whole.dataset, settings=SETTINGS, progress=False)
    assert (again.ok, again.new_videos, again.digest) == (40, 0, whole.digest)
    assert shards(whole.dataset) == before


def test_frames_as_h264(whole: PrepareResult, videos: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, rgb="h264")
    result = prepare(str(videos), str(tmp_path / "out"), settings=settings, progress=False)
    assert (result.ok, result.frames, result.pairs) == (40, 40 * 12, 40 * 11)
    assert not verify(result.dataset, progress=False).differences
    jpeg, h264 = open_dataset(whole.dataset), open_dataset(result.dataset)
    for ours, theirs in zip(h264.samples("train"), jpeg.samples("train"), strict=True):
        assert ours.video_id == theirs.video_id
        difference = h264.rgb(ours, [0, 11]).astype(int) - jpeg.rgb(theirs, [0, 11])
        assert abs(difference).mean() < 6


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory) -> Path:
    """Four short videos and one of 47 frames, whole and with a hole in its second half that decord stumbles over."""
    root = tmp_path_factory.mktemp("long")
    frames = np.random.default_rng(0).integers(0, 255, (47, 48, 64, 3), dtype=np.uint8)
    for label in ("a", "b"):
        (root / label).mkdir()
        for number in range(2):
            write_mp4(root / label / f"{label}{number}.mp4", frames[4 * number :][:7], 25)
    write_mp4(root / "a/whole.mp4", frames, 25)
    data = bytearray((root / "a/whole.mp4").read_bytes())
    half, rest = len(data) * 6 // 10, len(data) * 7 // 10
    data[half:rest] = bytes(rest - half)
    (root / "b/hole.mp4").write_bytes(data)
    return root


def test_parts_of_a_long_video_are_made_at_once_and_as_by_one_worker(
    long_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    settings = dataclasses.replace(SETTINGS, max_sample_frames=5)
    begun = tmp_path / "begun"
    begun.mkdir()

    def meeting(row, settings, request, place):
        """Parts 2 and 3 of the whole video end only once both have begun."""
        from pipelines.prepare.scheduler import process

        if "whole" in row["video_id"] and request.number in (2, 3):
            (begun / str(request.number)).touch()
            deadline = time.monotonic() + 120
            while len(list(begun.iterdir())) < 2:
                assert time.monotonic() < deadline, "the other piece does not begin"
                time.sleep(0.05)
        return process._function(row, settings, request, place)

    with monkeypatch.context() as patch:
        patch.setattr(prepare_tasks, "process", ray.remote(num_cpus=1)(meeting))
        result = prepare(str(long_videos), str(tmp_path / "out"), settings=settings, progress=False)
    assert (result.ok, result.kinds) == (5, {"truncated": 1})
    prepare_here(long_videos, tmp_path / "alone", settings)
    assert shards(tmp_path / "out") == shards(tmp_path / "alone")
    records = {record["video_id"]: record for record in tables.read_table(result.dataset, "records").to_pylist()}
    assert (records["a%2Fwhole"]["frames"], records["a%2Fwhole"]["flows"]) == (47, 46)
    (sidecar,) = read_sidecars(result.dataset)
    (cut,) = [record.pieces for record in sidecar.records if record.video_id == "a%2Fwhole"]
    assert [piece.frames for piece in cut] == [5, 5, 5, 5, 5, 5, 5, 5, 5, 2]


def test_a_piece_that_ends_after_its_shard_is_written_finds_its_folder(
    long_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody wants it any more, since an earlier piece of its video cannot be decoded; but it is to be kept."""
    import ray

    place = tmp_path / "videos" / "train" / "b"
    place.mkdir(parents=True)
    for name in ("b0.mp4", "hole.mp4"):
        (place / name).symlink_to(long_videos / "b" / name)
    out, found = tmp_path / "out", tmp_path / "found"

    def late(row, settings, request, place):
        """The last piece ends a second after its shard is there: the driver would have removed the folder by then."""
        from pipelines.prepare.scheduler import process

        if request.attempt == 1 and request.number == 9:
            deadline = time.monotonic() + 120
            while not (out / "shards" / "000000.json").exists():
                assert time.monotonic() < deadline, "the shard is not written"
                time.sleep(0.02)
            time.sleep(1)
            found.write_text(str((out / ".kept" / "000000").exists()))
        return process._function(row, settings, request, place)

    monkeypatch.setattr(prepare_tasks, "process", ray.remote(num_cpus=1)(late))
    settings = dataclasses.replace(SETTINGS, max_sample_frames=5)
    source = str(tmp_path / "videos")
    result = prepare(source, str(out), settings=settings, max_failed=1, progress=False)
    assert found.read_text() == "True"
    assert result.kinds == {"truncated": 1}
    assert not (out / ".kept" / "000000").exists()


@pytest.mark.skipif(not ODD.is_dir(), reason="MAREY_TEST_VIDEOS has no odd_files")
def test_every_odd_file_is_one_record(tmp_path: Path) -> None:
    files = sorted(path for path in ODD.rglob("*") if path.is_file())
    table = tmp_path / "odd.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "video_id", "part"])
        rows.writerows([path, path.parent.name, path.relative_to(ODD), "train"] for path in files)
    settings = PrepareSettings(short_side=32, flow="none")
    result = prepare(str(table), str(tmp_path / "out"), layout="csv", settings=settings, progress=False)
    records = tables.read_table(result.dataset, "records").to_pylist()
    assert len(records) == len(files) == result.ok + result.failed
    assert result.provisional == 0
    names = {record["video_id"]: unquote(record["video_id"]).rpartition("/")[2] for record in records}
    failed = {kind: {names[r["video_id"]] for r in records if r["kind"] == kind} for kind in result.kinds}
    assert failed == ODD_KINDS
    assert all(r["frames"] >= 2 and r["decoder"] in ("decord", "pyav") for r in records if r["status"] == "ok")
    assert all(record["message"] for record in records if record["status"] == "failed")
    assert not verify(result.dataset, progress=False).differences


def test_a_repaired_video_is_taken_in_by_retry_failed_alone(whole: PrepareResult, videos: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(videos, source)
    victim = source / "train/red/red-train-3.mp4"
    good = victim.read_bytes()
    victim.write_bytes(good[: len(good) // 2])
    first = prepare(str(source), str(out), settings=SETTINGS, progress=False)
    assert (first.ok, sum(first.kinds.values()), first.provisional) == (39, 1, 0)
    victim.write_bytes(good)
    assert prepare(str(source), str(out), settings=SETTINGS, progress=False).new_videos == 0
    before = {path.name: path.read_bytes() for path in (out / "shards").glob("*.tar")}
    repaired = prepare(str(source), str(out), settings=SETTINGS, retry_failed=True, progress=False)
    assert (repaired.ok, repaired.new_videos) == (40, 8)
    after = {path.name: path.read_bytes() for path in (out / "shards").glob("*.tar")}
    assert sum(after[name] != content for name, content in before.items()) == 1


def test_an_estimate_comes_near_and_writes_nothing(
    whole: PrepareResult, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listing("folder", str(videos), None)
    result = estimate.estimate_preparation(found, str(tmp_path / "out"), SETTINGS, progress=False)
    assert (result.videos, result.prepared, result.sampled, result.kinds) == (40, 0, estimate.SAMPLED_VIDEOS, {})
    assert (result.frames, result.pairs) == (480, 440)
    assert result.bytes == pytest.approx(whole.bytes, rel=0.1)
    assert 0 < result.core_seconds == pytest.approx(2 * result.seconds)
    assert not (tmp_path / "out").exists()

    words = ["prepare", str(videos), str(tmp_path / "out"), "--dry-run", "--short-side", "32", "--flow", "none"]
    assert cli.main(words) == 0
    assert "40 to prepare of 40, estimated from 24" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_an_estimate_is_of_what_is_left(whole: PrepareResult, videos: Path) -> None:
    result = estimate.estimate_preparation(
        listing("folder", str(videos), None), whole.dataset, SETTINGS, progress=False
    )
    assert (result.videos, result.prepared, result.sampled, result.bytes) == (0, 40, 0, 0)


def test_too_many_failed_videos_are_exit_3(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for label in ("blue", "red"):
        (source / label).symlink_to(videos / "test" / label)
    broken(source, "junk/one.mp4", "junk/empty.mp4", "junk/three.mp4")
    line = ["prepare", str(source), str(tmp_path / "out"), "--short-side", "32", "--flow", "none"]
    line += ["--val-fraction", "0", "--test-fraction", "0"]
    assert cli.main(line) == 3
    text = capsys.readouterr().out
    assert "4 of 7 ok" in text
    assert "unreadable" in text
    assert "more than 5.0% of the videos failed" in text
    assert cli.main([*line, "--max-failed", "1.0"]) == 0
    assert "more than" not in capsys.readouterr().out


def test_verify_finds_one_flipped_bit(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    settings = PrepareSettings(short_side=32, flow="none", shard_videos=16)
    prepare(str(videos), str(out), settings=settings, progress=False)
    assert cli.main(["verify", str(out)]) == 0
    assert "no difference in 3 shards of 40 videos" in capsys.readouterr().out
    shard = out / "shards/000001.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    (out / "shards/000002.json").unlink()
    assert cli.main(["verify", str(out)]) == 1
    text = capsys.readouterr().out
    assert "shard 000001 does not match the sha256 in its sidecar" in text
    assert "shard 000002" in text


@pytest.mark.campaign
def test_flow_in_batches_takes_gpus_and_agrees(whole: PrepareResult, videos: Path, tmp_path: Path) -> None:
    """Ray is told of a GPU; torch, which finds none, computes on the CPU, and a sixth of the videos will do."""
    few = tmp_path / "videos"
    for video in videos.glob("*/*/*-0.mp4"):
        copy = few / video.relative_to(videos)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, copy)
    program = f"""
import ray
from pipelines.prepare.workflow import prepare
from tasks.data import PrepareSettings
from tasks.video import TVL1
ray.init(num_cpus=2, num_gpus=1)
settings = {dataclasses.replace(SETTINGS, flow_backend="torch")!r}
assert prepare({str(few)!r}, {str(tmp_path / "out")!r}, settings=settings, progress=False).ok == 12
"""
    done = processes.run([sys.executable, "-c", program], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    ours, native = open_dataset(str(tmp_path / "out")), open_dataset(whole.dataset)
    twins = {sample.video_id: sample for part in ("train", "val", "test") for sample in native.samples(part)}
    samples = [sample for part in ("train", "val", "test") for sample in ours.samples(part)]
    assert len(samples) == 12
    for sample in samples:
        twin = twins[sample.video_id]
        pairs = [ours.flow(sample, range(11)).astype(int), native.flow(twin, range(11)).astype(int)]
        assert np.abs(pairs[0] - pairs[1]).mean() <= 0.5


def test_the_workflow_and_the_plain_functions_agree(whole: PrepareResult, videos: Path, tmp_path: Path) -> None:
    from tasks.data import manifest
    from tasks.data.process import process_video
    from tasks.video import DecoderProcess

    table, _ = manifest.build(folder.read(str(videos)), SETTINGS)
    plan = shard.plan(table, SETTINGS)[2]
    with DecoderProcess() as decoder:
        done = [process_video(row, SETTINGS, decoder) for row in plan.take(table)]
    shard.write_shard(str(tmp_path), plan, done, shard.settings_digest(SETTINGS))
    assert shards(tmp_path).items() <= shards(whole.dataset).items()
