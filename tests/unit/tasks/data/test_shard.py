import contextlib
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from tasks.data import decode_sample, storage
from tasks.data.assembly import Processed
from tasks.data.manifest import Listing, Row, build, digest, video_id_of
from tasks.data.process import process_video
from tasks.data.settings import PrepareSettings
from tasks.data.shard import pending, plan, settings_digest, tar_path, write_shard
from tasks.data.sidecar import Member, read_sidecar, read_sidecars
from tasks.data.tables import (
    check_output,
    describe,
    read_description,
    read_settings,
    read_table,
    write_records,
    write_tables,
)
from tasks.errors import UserError
from tasks.video import TVL1, DecoderProcess
from tasks.video.codecs import write_mp4

pytestmark = pytest.mark.quick
SETTINGS = PrepareSettings(
    short_side=32,
    shard_videos=4,
    max_sample_frames=8,
    tvl1=TVL1(warps=1, scales=1, inner_iterations=3, outer_iterations=1),
)
NAMES = ["plain", "行動 név", "-dash", "dots.in.name", "long" * 40, "__key__", "broken", "gone"]


def listing(folder):
    rows = [
        Row(video_id=video_id_of(name), uri=str(folder / f"{i}.mp4"), label="ab"[i % 2]) for i, name in enumerate(NAMES)
    ]
    return Listing(rows)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    for i in range(6):
        images = rng.integers(0, 256, (6 + 2 * i, 6, 8, 3), dtype=np.uint8).repeat(6, 1).repeat(6, 2)
        write_mp4(folder / f"{i}.mp4", images, 10)
    (folder / "6.mp4").write_text("<html>")
    return folder


def prepare(source, root, settings=SETTINGS):
    manifest, splits = build(listing(source), settings)
    check_output(str(root), digest(manifest), settings)
    write_tables(str(root), manifest, splits, settings)
    with DecoderProcess() as decoder:
        for shard in plan(manifest, settings):
            videos = (process_video(row, settings, decoder) for row in shard.take(manifest))
            write_shard(str(root), shard, videos, settings_digest(settings))
    write_records(str(root))
    return manifest


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    return root, prepare(source, root)


def fake(video_id, kind=""):
    record = {"video_id": video_id, "status": "failed" if kind else "ok", "kind": kind, "message": "", "decoder": ""}
    record |= {"frames": 1, "flows": 0, "width": 8, "height": 8, "fps": 25.0, "seconds": 0.1}
    record["pieces"] = [] if kind else [{"first": 0, "frames": 1, "flows": 0}]
    return Processed(record, [] if kind else [(f"{video_id}.json", b"{}")])


def test_plan_depends_on_manifest_and_seed_alone(source):
    manifest, _ = build(listing(source), SETTINGS)
    first = plan(manifest, SETTINGS)
    assert first == plan(manifest, SETTINGS)
    assert sorted(row for shard in first for row in shard.rows) == list(range(8))
    assert [len(shard.rows) for shard in first] == [4, 4]
    assert first != plan(manifest, replace(SETTINGS, seed=1))
    assert [len(shard.rows) for shard in plan(manifest, replace(SETTINGS, shard_videos=3))] == [3, 3, 2]


def test_second_run_gives_the_same_bytes(made, source, tmp_path):
    root, _ = made
    prepare(source, tmp_path / "again")

    def content(folder):
        files = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "records.parquet"):
            files[path.name] = path.read_bytes()
            if path.parent.name == "shards" and path.suffix == ".json":
                sidecar = json.loads(path.read_bytes())
                for record in sidecar["records"]:
                    del record["seconds"]
                files[path.name] = sidecar
        return files

    assert content(tmp_path / "again") == content(root)


def test_tar_is_plain_and_the_sidecar_points_into_it(made):
    root, manifest = made
    names = set()
    for sidecar in read_sidecars(str(root)):
        data = storage.read_bytes(tar_path(str(root), sidecar.shard))
        assert len(data) == sidecar.bytes
        with tarfile.open(tar_path(str(root), sidecar.shard)) as tar:
            members = tar.getmembers()
            assert [Member(m.name, m.offset_data, m.size) for m in members] == sidecar.members
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
            for member in members:
                assert tar.extractfile(member).read() == data[member.offset_data : member.offset_data + member.size]
            names |= {m.name for m in members}
        for record in sidecar.records:
            assert record.shard == sidecar.shard
        assert not sidecar.provisional
        assert sidecar.settings == settings_digest(SETTINGS)
    assert "行動 név.json" in names
    assert "long" * 40 + "~0001.rgb.arrow" in names
    assert "plain.json" in names
    assert manifest.num_rows == 8


def test_plain_webdataset_reads_it(made):
    import webdataset

    root, _ = made
    samples = []
    for path in sorted((root / "shards").glob("*.tar")):
        samples += list(webdataset.WebDataset(str(path), shardshuffle=False).map(decode_sample))
    frames, flows = {}, {}
    for sample in samples:
        assert sample["__key__"].partition("~")[0] == sample["video_id"]
        frames[sample["video_id"]] = frames.get(sample["video_id"], 0) + len(sample["rgb"])
        flows[sample["video_id"]] = flows.get(sample["video_id"], 0) + len(sample["flow"])
        assert sample["rgb"].shape[1:] == (32, 43, 3)
    assert frames == {video_id_of(name): 6 + 2 * i for i, name in enumerate(NAMES[:6])}
    assert flows == {name: count - 1 for name, count in frames.items()}


def test_records_table(made):
    root, manifest = made
    records = read_table(str(root), "records").to_pylist()
    assert [r["video_id"] for r in records] == manifest["video_id"].to_pylist()
    kinds = {r["video_id"]: (r["status"], r["kind"]) for r in records}
    assert kinds["broken"] == ("failed", "unreadable")
    assert kinds["gone"] == ("failed", "missing")
    assert sum(status == "ok" for status, _ in kinds.values()) == 6


def test_sidecar_is_the_commit_and_transient_failures_are_redone(source, tmp_path):
    root = str(tmp_path)
    manifest, _ = build(listing(source), SETTINGS)
    shards = plan(manifest, SETTINGS)
    key = settings_digest(SETTINGS)
    assert pending(root, shards, key) == shards
    ids = [[row["video_id"] for row in shard.take(manifest)] for shard in shards]
    write_shard(root, shards[0], [fake(v) for v in ids[0]], key)
    kinds = ["", "timeout", "truncated", ""]
    sidecar = write_shard(root, shards[1], [fake(v, k) for v, k in zip(ids[1], kinds, strict=True)], key)
    assert sidecar["provisional"]
    assert pending(root, shards, key) == shards[1:]
    sidecar = write_shard(root, shards[1], [fake(v, "truncated") for v in ids[1]], key)
    assert not sidecar["provisional"]
    assert sidecar["members"] == []
    assert pending(root, shards, key) == []
    assert pending(root, shards, settings_digest(replace(SETTINGS, seed=9))) == shards
    (tmp_path / "shards" / "000000.json").unlink()
    assert read_sidecar(root, 0) is None
    assert pending(root, shards, key) == shards[:1]


def test_interrupted_shard_is_not_there(source, tmp_path):
    manifest, _ = build(listing(source), SETTINGS)
    shard = plan(manifest, SETTINGS)[0]

    def videos():
        yield fake("plain")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(str(tmp_path), shard, videos(), "x")
    assert list((tmp_path / "shards").iterdir()) == []
    with pytest.raises(ValueError, match="got 1 of 4"):
        write_shard(str(tmp_path), shard, [fake("plain")], "x")
    assert read_sidecar(str(tmp_path), 0) is None


def test_description(made):
    root, manifest = made
    description = read_description(str(root))
    assert description["classes"] == ["a", "b"]
    assert description["manifest"] == digest(manifest)
    assert (description["videos"], description["shards"]) == (8, 2)
    assert read_settings(description) == SETTINGS
    splits = read_table(str(root), "splits")
    assert description["digest"] != describe(manifest, splits, replace(SETTINGS, seed=1))["digest"]
    assert description["digest"] != describe(manifest, splits.slice(1), SETTINGS)["digest"]


def test_another_dataset_or_setting_in_the_output_is_refused(made, tmp_path):
    root, manifest = made
    check_output(str(root), digest(manifest), SETTINGS)
    check_output(str(tmp_path), digest(manifest), SETTINGS)
    check_output(str(tmp_path / "new"), digest(manifest), SETTINGS)
    with pytest.raises(UserError, match=r"prepared with short_side=32, not 48"):
        check_output(str(root), digest(manifest), replace(SETTINGS, short_side=48))
    with pytest.raises(UserError, match=r"prepared with tvl1\.warps=1, not 5"):
        check_output(str(root), digest(manifest), replace(SETTINGS, tvl1=replace(SETTINGS.tvl1, warps=5)))
    with pytest.raises(UserError, match=r"another dataset \(8 videos"):
        check_output(str(root), digest(manifest.slice(1)), SETTINGS)
    (tmp_path / "thesis.pdf").touch()
    with pytest.raises(UserError, match=r"not empty \(it holds 'thesis.pdf'\)"):
        check_output(str(tmp_path), digest(manifest), SETTINGS)


@pytest.mark.parametrize("survives", range(4))
def test_a_call_that_ended_among_the_tables_is_followed_by_the_next(source, tmp_path, monkeypatch, survives):
    manifest, splits = build(listing(source), SETTINGS)
    publish, done = storage.publish, []

    def deadly(path, content):
        if len(done) == survives:
            raise KeyboardInterrupt
        done.append(path)
        publish(path, content)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(storage, "publish", deadly)
        write_tables(str(tmp_path / "out"), manifest, splits, SETTINGS)
    assert len(done) == min(survives, 3)
    write_tables(str(tmp_path / "out"), manifest, splits, SETTINGS)
    assert read_table(str(tmp_path / "out"), "splits").equals(splits)


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(UserError, match="not a prepared dataset"):
        read_description(str(tmp_path))
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        read_description(str(tmp_path))
    (tmp_path / "dataset.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="format 99"):
        read_description(str(tmp_path))


def test_output_on_another_file_system(source, tmp_path):
    manifest, splits = build(listing(source), SETTINGS)
    root = f"memory://{tmp_path.name}"
    check_output(root, digest(manifest), SETTINGS)
    write_tables(root, manifest, splits, SETTINGS)
    shards = plan(manifest, SETTINGS)
    for shard in shards:
        write_shard(root, shard, [fake(row["video_id"]) for row in shard.take(manifest)], "x")
    assert [sidecar.shard for sidecar in read_sidecars(root)] == [0, 1]
    assert pending(root, shards, "x") == []
    check_output(root, digest(manifest), SETTINGS)
