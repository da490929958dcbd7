import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from changed import change_sidecar
from decoder_children import replace_serving

from tasks.data import layouts
from tasks.data.manifest import build
from tasks.data.process import process_video
from tasks.data.sample import write_rgb, write_rgb_h264
from tasks.data.settings import PrepareSettings
from tasks.data.shard import plan, settings_digest, write_shard
from tasks.data.tables import RECORDS, read_table, write_records, write_tables
from tasks.data.verify import shards_of, verify_dataset, verify_shard
from tasks.errors import UserError
from tasks.video import TVL1, DecoderProcess
from tasks.video.codecs import jpeg_rgb, write_mp4

pytestmark = pytest.mark.quick
SETTINGS = PrepareSettings(
    short_side=32,
    shard_videos=5,
    max_sample_frames=8,
    tvl1=TVL1(warps=1, scales=1, inner_iterations=3, outer_iterations=1),
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    rng = np.random.default_rng(0)
    for i in range(8):
        path = folder / "source" / "ab"[i % 2] / f"{i}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mp4(path, rng.integers(0, 256, (5 + i, 6, 8, 3), dtype=np.uint8).repeat(6, 1).repeat(6, 2), 10)
    (folder / "source" / "a" / "broken.mp4").write_text("<html>")
    manifest, splits = build(layouts.read("folder", str(folder / "source")), SETTINGS)
    root = str(folder / "out")
    write_tables(root, manifest, splits, SETTINGS)
    processed = []
    with DecoderProcess() as decoder:
        for shard in plan(manifest, SETTINGS):
            videos = [process_video(row, SETTINGS, decoder) for row in shard.take(manifest)]
            write_shard(root, shard, videos, settings_digest(SETTINGS))
            processed.append((shard, videos))
    write_records(root)
    return folder / "out", processed


@pytest.fixture
def dataset(pristine, tmp_path):
    return shutil.copytree(pristine[0], tmp_path / "out")


def everything(root):
    return verify_dataset(str(root)) + [text for index in range(2) for text in verify_shard(str(root), index)]


def test_sound_dataset(dataset):
    assert everything(dataset) == []


@pytest.mark.parametrize("where", [0.0, 0.3, 0.7, 0.999])
def test_one_flipped_bit(dataset, where):
    path = dataset / "shards" / "000001.tar"
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 4
    path.write_bytes(data)
    assert verify_dataset(str(dataset)) == []
    assert verify_shard(str(dataset), 0) == []
    assert verify_shard(str(dataset), 1) == ["shard 000001 does not match the sha256 in its sidecar"]


def test_cut_and_missing_shards(dataset):
    path = dataset / "shards" / "000000.tar"
    os.truncate(path, 4096)
    assert "has 4096 bytes" in verify_shard(str(dataset), 0)[0]
    path.unlink()
    assert "no tar" in verify_shard(str(dataset), 0)[0]
    assert verify_dataset(str(dataset)) == ["shard 000000 has no tar"]
    (dataset / "shards" / "000000.json").unlink()
    assert "no sidecar" in verify_shard(str(dataset), 0)[0]
    assert "shard 000000 is missing" in verify_dataset(str(dataset))


def test_foreign_shard(dataset):
    for suffix in ("tar", "json"):
        shutil.copy(dataset / "shards" / f"000001.{suffix}", dataset / "shards" / f"000002.{suffix}")
    path = dataset / "shards" / "000002.json"
    assert "000002.json is damaged (it says format 2, shard 1)" in verify_shard(str(dataset), 2)[0]
    change_sidecar(path, shard=2, records=[{**r, "shard": 2} for r in json.loads(path.read_text())["records"]])
    assert "shard 000002 is not part of the plan" in verify_dataset(str(dataset))
    assert shards_of(str(dataset)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["manifest", "splits"])
def test_edited_table(dataset, name):
    path = dataset / f"{name}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    assert verify_dataset(str(dataset)) == [f"{name}.parquet is not the one that dataset.json describes"]
    content = path.read_bytes()
    for damaged in (b"", content[:-9], content[:40] + bytes(40) + content[80:]):
        path.write_bytes(damaged)
        (message,) = verify_dataset(str(dataset))
        assert re.fullmatch(rf".*/{name}\.parquet is damaged \(.+\): run the same `marey prepare` again", message)
        with pytest.raises(UserError, match=f"{name}.parquet is damaged"):
            read_table(str(dataset), name)
    path.unlink()
    assert f"{name}.parquet is missing" in verify_dataset(str(dataset))[0]
    assert shards_of(str(dataset)) == [0, 1]
    (dataset / "records.parquet").unlink()
    assert [
        f"{table}.parquet is missing" in said
        for table, said in zip((name, "records"), verify_dataset(str(dataset)), strict=True)
    ] == [True, True]


def test_edited_records(dataset):
    path = dataset / "records.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[3]["frames"] += 1
    rows.append(rows[0])
    gone = rows.pop(5)
    pq.write_table(pa.Table.from_pylist(rows, schema=RECORDS), path)
    assert verify_dataset(str(dataset)) == [
        f"records.parquet has 2 rows for {rows[0]['video_id']}",
        f"records.parquet differs from the sidecar for {rows[3]['video_id']}",
        f"records.parquet lacks {gone['video_id']}",
    ]


def test_other_settings_and_provisional(dataset):
    path = dataset / "shards" / "000000.json"
    sidecar = json.loads(path.read_text())
    change_sidecar(path, settings="x")
    assert verify_dataset(str(dataset)) == ["shard 000000 was made with other settings"]
    failed = {"status": "failed", "kind": "timeout", "message": "slow", "pieces": []}
    records = [{**record, **failed} if i == 0 else record for i, record in enumerate(sidecar["records"])]
    change_sidecar(path, settings=sidecar["settings"], provisional=True, records=records)
    assert verify_dataset(str(dataset)) == [
        "shard 000000 is provisional: run the same `marey prepare` again",
        f"records.parquet differs from the sidecar for {records[0]['video_id']}",
    ]


def rewrite(pristine, root, change):
    """Write shard 0 again, committed as if nothing were wrong, with one member changed."""
    shard, videos = pristine[1][0]
    video = next(v for v in videos if v.record["status"] == "ok" and len(v.record["pieces"]) == 1)
    position = videos.index(video)
    changed = [*videos]
    changed[position] = change(video)
    write_shard(str(root), shard, changed, settings_digest(SETTINGS))
    return video.record["video_id"]


def with_member(video, suffix, content):
    members = [(n, content if n.endswith(suffix) else d) for n, d in video.members]
    return type(video)(video.record, [(n, d) for n, d in members if d is not None])


def test_wrong_content_behind_a_right_checksum(dataset, pristine):
    image = np.zeros((1, 32, 43, 3), np.uint8)
    good = jpeg_rgb(image, 90)[0]
    header = good.index(b"\xff\xc0") + 5
    huge = good[:header] + (65500).to_bytes(2, "big") + good[header + 2 :]

    def rgb(count, data=good):
        return lambda v: with_member(
            v, "rgb.arrow", write_rgb([data] * (v.record["frames"] + count), height=32, width=43, quality=90)
        )

    cases = [
        (rgb(-1), "rows, not 9 as its record says"),
        (rgb(0, b"no jpeg"), "row 0: 7 bytes are not a JPEG"),
        (rgb(0, jpeg_rgb(image[:, :16], 90)[0]), "row 0: 43 x 16 pixels, not 43 x 32"),
        (rgb(0, huge), "row 0: 43 x 65500 pixels, not 43 x 32"),
        (lambda v: with_member(v, "rgb.arrow", by_pyarrow(v, good)), "has other bytes than marey writes"),
        (lambda v: with_member(v, "flow.arrow", None), "flow.arrow is missing"),
        (lambda v: with_member(v, "flow.arrow", b"nothing of the kind"), "is not an Arrow file"),
    ]
    for change, message in cases:
        video_id = rewrite(pristine, dataset, change)
        (found,) = verify_shard(str(dataset), 0)
        assert f"video {video_id}" in found
        assert message in found


def by_pyarrow(video, jpeg):
    """The frames of a video as an Arrow file with other names, which only other readers look at."""
    data = write_rgb([jpeg] * video.record["frames"], height=32, width=43, quality=90)
    table = pa.ipc.open_file(data).read_all().rename_columns(["image", "image_xxh3"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("name", ["dataset.json", "manifest.parquet", "splits.parquet", "records.parquet"])
def test_no_changed_byte_passes(dataset, name):
    """Also where it changes nothing of what is read."""
    path = dataset / name
    sound = path.read_bytes()
    for place in range(0, len(sound), len(sound) // 60):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        try:
            found = verify_dataset(str(dataset))
        except UserError as error:  # of another format
            found = [str(error)]
        assert any(name in text for text in found), place


def test_all_that_is_damaged_is_listed(dataset):
    """Each file is named, and none keeps another from being looked at."""
    for name in ("dataset.json", "manifest.parquet", "splits.parquet", "records.parquet", "shards/000000.json"):
        (dataset / name).write_bytes(b"nonsense")
    os.truncate(dataset / "shards" / "000001.tar", 4096)
    found = [text for index in shards_of(str(dataset)) for text in verify_shard(str(dataset), index)]
    for name in ("dataset.json", "manifest.parquet", "splits.parquet", "records.parquet", "shards/000000.json"):
        assert sum(f"{dataset}/{name} is damaged" in text for text in verify_dataset(str(dataset))) == 1
    assert "000000.json is damaged" in found[0]
    assert "shard 000001 has 4096 bytes" in found[1]


def test_a_dataset_of_billions(dataset):
    """What it claims costs nothing before it is refused."""
    manifest = pq.read_table(dataset / "manifest.parquet")
    places = np.zeros(10**6, np.int32)
    values = {"group": ["P1"], "start_s": [0.0], "end_s": [1.0]}
    million = pa.table(
        {
            name: pa.DictionaryArray.from_arrays(places, pa.array(values.get(name, value), manifest[name].type))
            for name, value in manifest.slice(0, 1).to_pydict().items()
        }
    )
    pq.write_table(million, dataset / "manifest.parquet")
    found = verify_dataset(str(dataset))
    assert re.search(r"manifest\.parquet is damaged \(it claims 1000000 rows in \d+ bytes\)", found[0])


def test_frames_as_h264(pristine, tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, rgb="h264")
    manifest, splits = build(layouts.read("folder", str(pristine[0].parent / "source")), settings)
    root = str(tmp_path / "out")
    write_tables(root, manifest, splits, settings)
    shard = plan(manifest, settings)[0]
    with DecoderProcess() as decoder:
        videos = [process_video(row, settings, decoder) for row in shard.take(manifest)]
    write_shard(root, shard, videos, settings_digest(settings))
    assert verify_shard(root, 0) == []
    position = next(i for i, v in enumerate(videos) if len(v.record["pieces"]) == 1)
    frames = videos[position].record["frames"]
    for content, message in [
        (write_rgb_h264(np.zeros((frames + 1, 32, 43, 3), np.uint8), fps=10, crf=18), f"has {frames + 1} frames"),
        (write_rgb_h264(np.zeros((frames, 32, 40, 3), np.uint8), fps=10, crf=18), "40 x 32 pixels"),
        (b"nothing of the kind", "not an mp4"),
    ]:
        changed = [*videos]
        changed[position] = with_member(videos[position], "rgb.mp4", content)
        write_shard(root, shard, changed, settings_digest(settings))
        (found,) = verify_shard(root, 0)
        assert message in found
    changed[position] = with_member(videos[position], "rgb.mp4", flipped(videos[position].members, "rgb.mp4"))
    write_shard(root, shard, changed, settings_digest(settings))
    (found,) = verify_shard(root, 0)
    assert "the mp4 does not match its checksum" in found
    # A file of a stranger that crashes FFmpeg.
    replace_serving(monkeypatch, "import os\nos.abort()")
    found = verify_shard(root, 0)
    good = [video.record["video_id"] for video in videos if video.record["status"] == "ok"]
    assert {text.partition(", video ")[2].partition(":")[0] for text in found} == set(good)
    assert all("rgb.mp4 cannot be decoded (crash): the decoding process ended (SIGABRT)" in text for text in found)


def flipped(members, ending):
    """The content of a member whose checksum, at its end, is another one."""
    (content,) = (content for name, content in members if name.endswith(ending))
    return content[:-1] + bytes([content[-1] ^ 1])


def test_lost_flow_is_noticed(dataset, pristine):
    def lose(video):
        record = json.loads(json.dumps(video.record))
        record["flows"] -= 1
        record["pieces"][0]["flows"] -= 1
        return type(video)(record, video.members)

    rewrite(pristine, dataset, lose)
    texts = verify_shard(str(dataset), 0)
    assert any("flows for" in text for text in texts)


def test_no_dataset(tmp_path):
    with pytest.raises(UserError, match="not a prepared dataset"):
        verify_dataset(str(tmp_path))
