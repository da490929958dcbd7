"""What holds for all published datasets."""

from pathlib import Path

import av
import fsspec
import published_layouts as published
import pytest
from prepared import prepare_here
from published_lists import FOLDS, LAYOUTS, counts, read, seen, touch

from tasks.data import open_dataset, tables
from tasks.data.manifest import build
from tasks.data.settings import PrepareSettings
from tasks.video import TVL1, decode

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("name", LAYOUTS)
def test_small_copy_of_each_dataset(originals, name):
    listing = read(name, originals[name])
    videos, splits = build(listing, PrepareSettings())
    assert videos.num_rows == len(listing.rows)
    names, train = (FOLDS, 6) if name in ("ucf101", "hmdb51") else (["given"], 4)
    assert counts(listing) == {(split, part): n for split in names for part, n in [("train", train), ("test", 2)]}
    assert splits.num_rows == counts(listing).total()
    for row in listing.rows[:2]:
        frames = decode(row.uri, start_s=row.start_s, end_s=row.end_s)
        assert frames.images.shape == (20, 48, 64, 3)
        assert frames.fps == (12 if name in ("jester", "ssv1") else 10)


@pytest.mark.parametrize("name", LAYOUTS)
def test_other_file_systems(originals, name):
    memory = fsspec.filesystem("memory")
    for path in originals[name].rglob("*"):
        if path.is_file():
            memory.pipe(f"/{name}/{path.relative_to(originals[name])}", path.read_bytes())
    here, there = read(name, originals[name]), read(name, f"memory://{name}")
    assert seen(there) == seen(here)
    assert there.ignored == here.ignored
    row = there.rows[0]
    assert len(decode(row.uri, start_s=row.start_s, end_s=row.end_s).images) == 20


def recontained(path, new):
    """The same video in another container."""
    with av.open(str(path)) as old, av.open(str(new), "w") as made:
        stream = made.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    path.unlink()


def in_every_container(source):
    """The videos below a folder as mkv, webm-like MKV in upper case, and mov in turn; returns their number."""
    videos = sorted(path for path in source.rglob("*") if path.suffix in (".mp4", ".avi", ".webm"))
    for number, path in enumerate(videos):
        recontained(path, path.with_suffix((".mkv", ".MKV", ".mov")[number % (3 if path.suffix != ".webm" else 2)]))
    return len(videos)


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics", "hacs", "moments", "ssv2", "diving48"])
def test_videos_in_other_containers_are_the_same_videos(copy, originals, name):
    source = copy(name)
    assert in_every_container(source)
    before, after = read(name, originals[name]), read(name, source)
    assert seen(after) == seen(before)
    assert after.ignored == before.ignored
    assert [(row.group, row.start_s, row.end_s) for row in after.rows] == [
        (row.group, row.start_s, row.end_s) for row in before.rows
    ]
    for row in after.rows:
        assert Path(row.uri).is_file()
    row = after.rows[1]
    assert len(decode(row.uri, start_s=row.start_s, end_s=row.end_s).images) == 20


@pytest.mark.parametrize("listed", ["caf\u00e9", "cafe\u0301"])
def test_published_names_are_found_in_either_form(copy, listed):
    on_disk = "cafe\u0301" if listed == "caf\u00e9" else "caf\u00e9"
    source = copy("kinetics")
    (source / "train/air drumming").rename(source / f"train/air {on_disk}")
    for part in ("train", "val"):
        (source / f"{part}.csv").write_text((source / f"{part}.csv").read_text().replace("drumming", listed))
    (source / "val/air drumming").rename(source / f"val/air {listed}")
    rows = [row for row in read("kinetics", source).rows if row.label.startswith("air")]
    assert {row.label for row in rows} == {"air caf\u00e9"}
    assert len(rows) == 3
    assert all(Path(row.uri).is_file() for row in rows)
    source = copy("hmdb51")
    (source / "clap").rename(source / on_disk)
    for path in (source / "testTrainMulti_7030_splits").glob("clap_*"):
        path.rename(path.with_name(path.name.replace("clap", listed, 1)))
    rows = [row for row in read("hmdb51", source).rows if row.label == "caf\u00e9"]
    assert len(rows) == 5
    assert all(Path(row.uri).is_file() for row in rows)


def test_files_beside_a_published_video_are_ignored(copy):
    source = copy("ucf101")
    folder = source / "UCF-101/Archery"
    for ending in ("json", "mp4", "jpg", "avi.part"):
        touch(folder / f"v_Archery_g01_c01.{ending}")
    listing = read("ucf101", source)
    assert {row.uri for row in listing.rows if "Archery_g01" in row.uri} == {str(folder / "v_Archery_g01_c01.avi")}
    assert listing.ignored == [f"Archery/v_Archery_g01_c01.{ending}" for ending in ("avi.part", "jpg", "json", "mp4")]


@pytest.mark.parametrize(("name", "train"), [("jester", 4), ("ucf101", 6)])
def test_from_the_published_files_to_a_dataset(originals, tmp_path, name, train):
    settings = PrepareSettings(short_side=48, tvl1=TVL1(scales=2, warps=1, inner_iterations=5, outer_iterations=1))
    prepare_here(originals[name], tmp_path, settings, LAYOUTS[name])
    records = tables.read_table(str(tmp_path), "records")
    assert set(records["status"].to_pylist()) == {"ok"}
    assert set(records["decoder"].to_pylist()) <= ({"opencv"} if name == "jester" else {"decord", "pyav"})
    dataset = open_dataset(str(tmp_path))
    assert dataset.parts == {"train": train, "val": 0, "test": 2}
    sample = dataset.samples("test")[0]
    assert (sample.frames, sample.flows) == (20, 19)
    number = int(sample.video_id) if name == "jester" else 1
    difference = dataset.rgb(sample, range(20)).astype(int) - published.images(sample.label_id, number)
    assert abs(difference).mean() < 8
