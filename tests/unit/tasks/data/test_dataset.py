import gc
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from changed import change_tables
from many_samples import write_many
from small_dataset import FAILED, FRAMES, LONG, SIZE, write_dataset

from tasks.data import PrepareSettings, open_dataset
from tasks.data.arrow_file import ArrowFile
from tasks.data.dataset import open_once
from tasks.data.shard import tar_path
from tasks.data.sidecar import read_sidecar
from tasks.data.tables import check_output, read_table
from tasks.errors import UserError

pytestmark = pytest.mark.quick


def test_what_it_knows(small_root):
    dataset = open_dataset(small_root)
    assert dataset.uri == small_root
    assert dataset.classes == ["jump", "run"]
    assert (dataset.splits, dataset.split) == (["first", "second"], "first")
    assert len(dataset.digest) == 64
    assert dataset.settings.short_side == 48
    # One of 12 videos failed; the one in two pieces counts once.
    assert dataset.parts == {"train": 7, "val": 2, "test": 2}
    assert open_dataset(small_root, split="second").parts == {"train": 9, "val": 0, "test": 2}


def test_samples_come_as_they_are_stored(small_root):
    dataset = open_dataset(small_root)
    train = dataset.samples("train")
    assert [(s.shard, s.rgb_range[0]) for s in train] == sorted((s.shard, s.rgb_range[0]) for s in train)
    everything = [s for part in dataset.parts for s in dataset.samples(part)]
    assert FAILED not in {s.video_id for s in everything}
    pieces = [s for s in everything if s.video_id == LONG]
    assert [(s.piece_index, s.frames, s.flows) for s in pieces] == [(0, 7, 7), (1, 5, 4)]
    whole = next(s for s in everything if s.video_id == "run%2F3")
    assert (whole.frames, whole.flows, whole.label, whole.label_id, whole.group) == (12, 11, "run", 1, "P0")


def test_samples_are_a_sequence(small_root):
    train = open_dataset(small_root).samples("train")
    everyone = list(train)
    assert [train[i] for i in range(-len(train), len(train))] == everyone * 2
    assert list(train[1:-1:2]) == everyone[1:-1:2]
    assert list(reversed(train)) == everyone[::-1]
    assert train.video_ids == [sample.video_id for sample in everyone]
    assert train.shards.tolist() == [sample.shard for sample in everyone]
    assert train.label_ids.tolist() == [sample.label_id for sample in everyone]
    assert [sample.piece_index for sample in train.first_pieces] == [0] * 7
    with pytest.raises(IndexError):
        train[len(train)]


def test_an_opened_dataset_holds_columns_and_not_objects(tmp_path):
    """Otherwise a million samples take a gigabyte in every process that opens them."""
    roots = [write_many(str(tmp_path / str(videos)), videos, shard_videos=64) for videos in (200, 1000)]
    open_dataset(roots[0])  # imports
    blocks = []
    for root in roots:
        gc.collect()
        before = sys.getallocatedblocks()
        dataset = open_dataset(root)
        gc.collect()
        blocks.append(sys.getallocatedblocks() - before)
        assert dataset.parts == {"train": len(dataset.samples("train")), "val": len(dataset.samples("val")), "test": 0}
    assert blocks[1] - blocks[0] < 400  # a half of an object for each of 800 samples more


def test_a_process_opens_a_dataset_once_until_it_changes(small_root, tmp_path):
    root = shutil.copytree(small_root, tmp_path / "data")
    first = open_once(root)
    assert open_once(str(root)) is first
    assert open_once(root, split="second").split == "second"
    sidecar = root / "shards" / "000001.json"
    sidecar.write_bytes(sidecar.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        open_once(root, split="second")


def test_a_fold_leaves_one_group_out(small_root):
    dataset = open_dataset(small_root, fold="group=P1")
    assert {s.group for s in dataset.samples("test")} == {"P1"}
    assert {s.group for s in dataset.samples("train")} == {"P0", "P2"}
    assert dataset.parts["val"] == 0
    assert dataset.split == "group=P1"


def test_frames_and_flow_come_in_the_order_asked_for(small_root):
    dataset = open_dataset(small_root)
    for sample in dataset.samples("train"):
        first = 7 if (sample.video_id, sample.piece_index) == (LONG, 1) else 0
        asked = [3, 0, 3, sample.frames - 1]
        frames = dataset.rgb(sample, asked)
        assert frames.shape == (4, *SIZE, 3)
        assert frames.dtype == np.uint8
        np.testing.assert_allclose(frames.mean((1, 2, 3)), np.array(asked) + first + 1, atol=1)
        flow = dataset.flow(sample, np.array([2, 1]))
        assert flow.shape == (2, 2, *SIZE)
        np.testing.assert_allclose(flow.mean((2, 3)), np.array([[3, 103], [2, 102]]) + first, atol=1)


def test_frames_and_flow_come_one_by_one(small_root):
    dataset = open_dataset(small_root)
    sample = dataset.samples("train")[0]
    frames = dataset.each_rgb(sample, [0, 2, sample.frames])
    np.testing.assert_array_equal([next(frames), next(frames)], dataset.rgb(sample, [0, 2]))
    with pytest.raises(UserError, match="has no row"):
        next(frames)
    np.testing.assert_array_equal([*dataset.each_flow(sample, [1, 3])], dataset.flow(sample, [1, 3]))


def test_frames_as_h264(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "data", rgb="h264", size=(47, 63)))

    for sample in dataset.samples("train"):
        first = 7 if (sample.video_id, sample.piece_index) == (LONG, 1) else 0
        asked = [3, 0, 3, sample.frames - 1]
        frames = dataset.rgb(sample, asked)
        assert frames.shape == (4, 47, 63, 3)
        np.testing.assert_allclose(frames.mean((1, 2, 3)), np.array(asked) + first + 1, atol=2)


def test_a_frame_is_read_without_its_neighbours(small_root, tmp_path):
    """The bytes of all other images are overwritten, without effect on the requested one."""
    root = str(shutil.copytree(small_root, tmp_path / "data"))
    sample = open_dataset(root).samples("train")[0]
    start, end = sample.rgb_range
    expected = open_dataset(root).rgb(sample, [5])
    path = Path(tar_path(root, sample.shard))
    shard = bytearray(path.read_bytes())
    member = bytes(shard[start:end])
    images = [i for i in range(len(member)) if member.startswith(b"\xff\xd8\xff\xe0", i)]
    assert len(images) == FRAMES
    for number, offset in enumerate(images):
        if number != 5:
            image_end = member.index(b"\xff\xd9", offset) + 2
            shard[start + offset : start + image_end] = bytes(image_end - offset)
    path.write_bytes(shard)
    dataset = open_dataset(root)
    np.testing.assert_array_equal(dataset.rgb(sample, [5]), expected)
    with pytest.raises(UserError, match=r"video .* cannot be read from .*\.tar .*`marey verify"):
        dataset.rgb(sample, [4])


def test_a_changed_bit_of_a_frame_is_not_decoded(small_root, tmp_path):
    root = str(shutil.copytree(small_root, tmp_path / "data"))
    dataset = open_dataset(root)
    sample = dataset.samples("train")[0]
    path = Path(tar_path(root, sample.shard))
    for (start, end), read, column in ((sample.rgb_range, dataset.rgb, 0), (sample.flow_range, dataset.flow, 1)):
        row = ArrowFile(path.read_bytes()[start:end]).row(4)[column]
        change(path, path.read_bytes().index(bytes(row), start) + len(row) // 2)
        with pytest.raises(UserError) as error:
            read(sample, [4])
        said = f"video {sample.video_id} cannot be read from {path} (row 4 does not match its checksum)"
        assert str(error.value) == f"{said}: check the dataset with `marey verify {root}`"
        assert len(read(sample, [3, 5])) == 2


def test_a_changed_bit_of_an_mp4_is_not_decoded(tmp_path):
    root = write_dataset(tmp_path / "data", rgb="h264")
    dataset = open_dataset(root)
    sample = dataset.samples("train")[0]
    change(Path(tar_path(root, sample.shard)), sum(sample.rgb_range) // 2)
    with pytest.raises(UserError, match="the mp4 does not match its checksum"):
        dataset.rgb(sample, [0])


def change(path, place):
    """Flip a bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


CUT = """
import os, sys
from tasks.data import open_dataset
from tasks.data.shard import tar_path
from tasks.errors import UserError

dataset = open_dataset(sys.argv[1])
samples = [sample for sample in dataset.samples("train") if sample.shard == 0]
dataset.rgb(samples[-1], [0])
os.truncate(tar_path(sys.argv[1], 0), samples[-1].rgb_range[0] + 100)
for stream in dataset.rgb, dataset.flow:
    try:
        stream(samples[-1], [0])
    except UserError as error:
        print(error)
"""


def test_a_shard_that_is_cut_while_it_is_read(small_root, tmp_path):
    root = str(shutil.copytree(small_root, tmp_path / "data"))
    done = subprocess.run([sys.executable, "-c", CUT, root], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    said = rf"video .* cannot be read from {root}/shards/000000\.tar \(it ends at byte \d+, before byte \d+\): check .*"
    first, second = done.stdout.splitlines()
    assert re.fullmatch(said, first)
    assert re.fullmatch(said, second)


def test_labels_and_splits_changed_behind_its_back(small_root, tmp_path):
    """By whatever wrote them, and though the file itself is sound."""
    root = shutil.copytree(small_root, tmp_path / "data")
    for name, column, value in (("splits", "part", "test"), ("manifest", "label", "run"), ("manifest", "group", "P7")):
        path = root / f"{name}.parquet"
        sound = path.read_bytes()
        rows = pq.read_table(path).to_pylist()
        rows[0][column] = value
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
        said = f"{path} is damaged (its content is not what dataset.json describes): run the same `marey prepare` again"
        with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
            open_dataset(root)
        path.write_bytes(sound)
    assert open_dataset(root).digest == open_dataset(small_root).digest


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["jump", "walk"]},
        {"classes": []},
        {"classes": [1, 2]},
        {"videos": 13},
        {"videos": 10**9, "shards": 25 * 10**7},
        {"shards": 10**9},
        {"shards": "3"},
        {"manifest": "0" * 64},
        {"splits": None},
        {"digest": "0" * 64},
        {"settings_digest": "0" * 64},
        {"settings": {}},
        {"settings": None},
        {"format": None},
    ],
)
def test_a_description_that_cannot_be(small_root, tmp_path, change):
    root = shutil.copytree(small_root, tmp_path / "data")
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(description | change))
    with pytest.raises(UserError, match=r"(dataset\.json|manifest\.parquet) is damaged \(.*\): run the same"):
        open_dataset(root)


@pytest.mark.parametrize(
    "change", [{"rgb": "png"}, {"short_side": "48"}, {"shard_videos": 0.5}, {"tvl1": 5}, {"new": 1}]
)
def test_settings_that_cannot_be(small_root, tmp_path, change):
    root = shutil.copytree(small_root, tmp_path / "data")
    description = json.loads((root / "dataset.json").read_text())
    description["settings"] |= change
    (root / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"dataset\.json is damaged"):
        open_dataset(root)


@pytest.mark.parametrize("content", ["", "[]", "5", '{"format": 2}', "[" * 100_000, "\0" * 100])
def test_a_description_of_nonsense(small_root, tmp_path, content):
    root = shutil.copytree(small_root, tmp_path / "data")
    (root / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"dataset\.json is damaged \(.*\): run the same `marey prepare` again$"):
        open_dataset(root)


def test_tables_that_contradict_themselves(small_root, tmp_path):
    """Described as they are, by someone who means to."""
    root = shutil.copytree(small_root, tmp_path / "data")
    manifest, splits = read_table(str(root), "manifest"), read_table(str(root), "splits")

    def changed(table, column, value):
        rows = table.to_pylist()
        rows[0][column] = value
        return table.from_pylist(rows, schema=table.schema)

    for tables, words in (
        ({"manifest": changed(manifest, "label_id", 7)}, "manifest.parquet is damaged"),
        ({"manifest": changed(manifest, "label_id", -1)}, "manifest.parquet is damaged"),
        ({"manifest": changed(manifest, "video_id", "jump%2F2")}, "manifest.parquet is damaged"),
        ({"splits": changed(splits, "part", "trian")}, "other parts than train, val and test"),
        ({"splits": changed(splits, "video_id", "../..")}, "videos that manifest.parquet lacks"),
        ({"splits": splits.slice(0, 0)}, "splits.parquet is damaged"),
    ):
        change_tables(root, **{"manifest": manifest, "splits": splits, **tables})
        with pytest.raises(UserError, match=words):
            open_dataset(root)


def test_threads_read_the_same(small_root):
    dataset = open_dataset(small_root)
    samples = dataset.samples("train")
    expected = [dataset.rgb(sample, range(4)) for sample in samples]
    wrong = []

    def read(number):
        for round_ in range(20):
            i = (number + round_) % len(samples)
            if not np.array_equal(dataset.rgb(samples[i], range(4)), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_reads_from_an_object_store(small_root):
    memory = fsspec.filesystem("memory")
    memory.put(small_root, "/reading/data", recursive=True)
    dataset, local = open_dataset("memory://reading/data"), open_dataset(small_root)
    assert dataset.parts == local.parts
    for ours, theirs in zip(dataset.samples("val"), local.samples("val"), strict=True):
        np.testing.assert_array_equal(dataset.rgb(ours, [0, 11]), local.rgb(theirs, [0, 11]))
        np.testing.assert_array_equal(dataset.flow(ours, [10]), local.flow(theirs, [10]))


def test_mistakes_are_sentences(small_root, tmp_path):
    cases = [
        ((tmp_path / "nothing",), {}, r"is not a prepared dataset \(it has no dataset.json\)"),
        ((small_root,), {"split": "frist"}, r"has no split 'frist'; did you mean 'first'\?"),
        ((small_root,), {"fold": "group=P9"}, r"has no group 'P9'; its groups are: P0, P1, P2"),
        ((small_root,), {"fold": "P1"}, "unknown fold 'P1': write group=NAME"),
        ((small_root,), {"fold": "group=P1", "split": "first"}, "give one of them"),
    ]
    for (uri,), options, words in cases:
        with pytest.raises(UserError, match=words):
            open_dataset(str(uri), **options)


@pytest.mark.parametrize(
    ("found", "action"),
    [(1, "prepare the videos again with `marey prepare`, to another folder"), (7, "update marey")],
)
def test_another_format_is_refused(small_root, tmp_path, found, action):
    root = shutil.copytree(small_root, tmp_path / "data")
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(description | {"format": found}))
    refusal = f"{root}/dataset.json has format {found}, and this marey reads format 2: {action}"
    with pytest.raises(UserError, match=f"^{re.escape(refusal)}$"):
        open_dataset(str(root))
    with pytest.raises(UserError, match=f"^{re.escape(refusal)}$"):
        check_output(str(root), description["manifest"], PrepareSettings())


def test_an_unfinished_dataset_is_refused(small_root, tmp_path):
    root = shutil.copytree(small_root, tmp_path / "data")
    assert read_sidecar(str(root), 1)
    (root / "shards" / "000001.json").unlink()
    with pytest.raises(UserError, match="is not finished, 1 of 3 shards are missing"):
        open_dataset(str(root))


def test_flow_that_is_not_there_is_a_sentence(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "data", flow=False))
    with pytest.raises(UserError, match="was prepared without optical flow"):
        dataset.flow(dataset.samples("train")[0], [0])
