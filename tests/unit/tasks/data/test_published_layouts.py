import os
import shutil
from collections import Counter
from pathlib import Path

import av
import fsspec
import published_layouts as published
import pytest
from prepared import prepare_here

from tasks.data import layouts, open_dataset, tables
from tasks.data.manifest import build
from tasks.data.process import process_video
from tasks.data.settings import PrepareSettings
from tasks.errors import UserError
from tasks.video import TVL1, DecoderProcess, decode

pytestmark = pytest.mark.quick
LAYOUTS = {
    "ucf101": "ucf101",
    "hmdb51": "hmdb51",
    "kinetics": "kinetics",
    "hacs": "kinetics",
    "moments": "kinetics",
    "ssv2": "ssv2",
    "ssv1": "jester",
    "jester": "jester",
    "diving48": "diving48",
}
"""Dataset -> layout."""
FOLDS = ("split1", "split2", "split3")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    return {name: getattr(published, name)(root / name) for name in LAYOUTS}


@pytest.fixture
def copy(originals, tmp_path):
    """A dataset that the test may change."""

    def make(name):
        shutil.copytree(originals[name], tmp_path / name)
        return tmp_path / name

    return make


def read(name, source, group=None):
    return layouts.read(LAYOUTS[name], str(source), group)


def seen(listing):
    return {row.video_id: (row.label, row.parts.get("given")) for row in listing.rows}


def counts(listing):
    return Counter((split, part) for row in listing.rows for split, part in row.parts.items())


def refusal(name, source):
    with pytest.raises(UserError) as caught:
        read(name, source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


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


def test_ucf101(originals):
    listing = read("ucf101", originals["ucf101"])
    rows = {row.video_id: row for row in listing.rows}
    first = rows["HandstandPushups%2Fv_HandStandPushups_g01_c01"]
    assert (first.label, first.group) == ("HandstandPushups", "g01")
    assert first.parts == {"split1": "test", "split2": "train", "split3": "train"}
    assert rows["Archery%2Fv_Archery_g04_c01"].parts == dict.fromkeys(FOLDS, "train")
    assert {row.group for row in listing.rows} == {"g01", "g02", "g03", "g04"}
    assert {row.group for row in read("ucf101", originals["ucf101"], r"^UCF-101/([^/]+)/").rows} == set(
        published.UCF101
    )


def test_ucf101_with_class_folders_in_the_source(copy):
    source = copy("ucf101")
    for folder in list((source / "UCF-101").iterdir()):
        folder.rename(source / folder.name)
    (source / "UCF-101").rmdir()
    for path in ("Archery/Thumbs.db", "UCF101.rar", "Archery/.v_Archery_g01_c01.avi"):
        touch(source / path)
    listing = read("ucf101", source)
    assert len(listing.rows) == 8
    assert sorted(listing.ignored) == ["Archery/.v_Archery_g01_c01.avi", "Archery/Thumbs.db", "UCF101.rar"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 2", "trainlist01.txt line 1 does not end with 1, the number"),
        ("trainlist02.txt", "g01_c01.avi 1", "g01_c01.avi", "trainlist02.txt line 1 does not end with 1, the number"),
        ("trainlist03.txt", "Archery/", "Archer/", "trainlist03.txt line 1 has the unknown class 'Archer'"),
        ("testlist01.txt", "Archery/", "Archer/", "testlist01.txt line 1 has the unknown class 'Archer'"),
        ("testlist01.txt", "g01_c01", "g02_c01", "v_Archery_g02_c01.avi in test, earlier it is in train"),
        ("testlist02.txt", "Archery/v_Archery_g02", "nothing", "testlist02.txt line 1 has the unknown class 'nothing"),
        ("testlist02.txt", "g02_c01", "g09_c01", "Archery/v_Archery_g09_c01.avi is listed but missing"),
        ("classInd.txt", "1 Archery", "Archery", "classInd.txt line 1 is not a number and a class"),
    ],
)
def test_ucf101_lists_that_do_not_match(copy, file, old, new, message):
    source = copy("ucf101")
    replace(source / "ucfTrainTestlist" / file, old, new)
    assert message in refusal("ucf101", source)


def test_first_ten_differences(copy):
    source = copy("ucf101")
    (source / "UCF-101/Archery/v_Archery_g01_c01.avi").unlink()
    for number in range(11):
        touch(source / f"UCF-101/Archery/v_Archery_g07_c{number:02d}.avi")
    message = refusal("ucf101", source)
    assert (
        f"{source}/UCF-101 and its lists do not match: Archery/v_Archery_g01_c01.avi is listed but missing" in message
    )
    assert "v_Archery_g07_c08.avi is there but not listed and 2 more; complete the videos, or correct" in message
    (source / "ucfTrainTestlist/testlist03.txt").unlink()
    assert "testlist03.txt does not exist" in refusal("ucf101", source)


def test_hmdb51(originals):
    rows = {row.video_id: row for row in read("hmdb51", originals["hmdb51"]).rows}
    assert rows["clap%2F#20_Rhythm_clap_u_nm_np1_ba_goo_0"].parts == dict.fromkeys(FOLDS, "train")
    assert rows["clap%2F(HQ)_Rock_&_Roll_clap_u_nm_np1_ba_goo_1"].parts == {
        "split1": "test",
        "split2": "train",
        "split3": "train",
    }
    odd = rows["clap%2FBob;s_[Dialogue]_1%2E5_clap_u_nm_np1_ba_goo_3"]
    assert odd.parts == {"split1": "train", "split3": "test"}
    assert (odd.label, odd.group) == ("clap", None)
    assert Path(odd.uri).exists()


def test_hmdb51_in_the_folders_of_its_archives(copy):
    source = copy("hmdb51")
    (source / "test_train_splits").mkdir()
    (source / "testTrainMulti_7030_splits").rename(source / "test_train_splits/testTrainMulti_7030_splits")
    assert len(read("hmdb51", source).rows) == 10
    (source / "hmdb51_org").mkdir()
    for name in published.HMDB51:
        (source / name).rename(source / "hmdb51_org" / name)
    assert len(read("hmdb51", source).rows) == 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 2 ", " 3 ", "clap_test_split1.txt line 2 does not end with 0, 1 or 2"),
        ("winKen_clap_u_nm_np1_ba_goo_4.avi 1 ", "1", "clap_test_split1.txt line 5 does not end with 0, 1 or 2"),
        ("winKen", "winBarbie", "clap/winBarbie_clap_u_nm_np1_ba_goo_4.avi is listed but missing"),
    ],
)
def test_hmdb51_lists_that_do_not_match(copy, old, new, message):
    source = copy("hmdb51")
    replace(source / "testTrainMulti_7030_splits/clap_test_split1.txt", old, new)
    assert message in refusal("hmdb51", source)


def test_hmdb51_that_is_incomplete(copy):
    source = copy("hmdb51")
    (source / "testTrainMulti_7030_splits/clap_test_split2.txt").unlink()
    assert "clap_test_split2.txt does not exist" in refusal("hmdb51", source)
    for fold in (1, 3):
        (source / f"testTrainMulti_7030_splits/clap_test_split{fold}.txt").unlink()
    assert "clap/#20_Rhythm_clap_u_nm_np1_ba_goo_0.avi is there but not listed" in refusal("hmdb51", source)
    shutil.rmtree(source / "testTrainMulti_7030_splits")
    assert "holds no testTrainMulti_7030_splits" in refusal("hmdb51", source)


CLIP = "-tQUuC4vJ00_000084_000094"


def test_kinetics(originals):
    listing = read("kinetics", originals["kinetics"])
    assert seen(listing) == {
        f"%2D{CLIP[1:]}": ("air drumming", "train"),
        "_tQUuC4vJ01_000085_000095": ("air drumming", "train"),
        "%2DtQUuC4vJ10_000084_000094": ("petting animal (not cat)", "train"),
        "_tQUuC4vJ11_000085_000095": ("petting animal (not cat)", "train"),
        "%2DvQUuC4vJ00_000084_000094": ("air drumming", "test"),
        "%2DvQUuC4vJ10_000084_000094": ("petting animal (not cat)", "test"),
    }
    assert listing.ignored == ["test.csv, clips without a label: 1"]
    assert listing.rows[0].group == "-tQUuC4vJ00"
    assert (listing.rows[0].start_s, listing.rows[0].end_s) == (None, None)
    grouped = read("kinetics", originals["kinetics"], r"/([^/]+)/[^/]+$")
    assert {row.group for row in grouped.rows} == set(published.KINETICS)


def test_kinetics_in_other_folders(copy):
    source = copy("kinetics")
    expected = seen(read("kinetics", source))
    (source / "train/air drumming").rename(source / "train/air_drumming")
    for clip in (source / "val/air drumming").iterdir():
        clip.rename(source / "val" / clip.name)
    (source / "annotations").mkdir()
    for file in source.glob("*.csv"):
        lines = file.read_text().splitlines()
        rows = [lines[0] + ",is_cc", *(line + ",0" for line in lines[1:])]
        (source / "annotations" / f"kinetics-400_{file.name}").write_text("\n".join(rows))
        file.unlink()
    listing = read("kinetics", source)
    assert seen(listing) == expected
    assert all(os.path.exists(row.uri) for row in listing.rows)


def test_a_lost_clip_of_kinetics_is_a_missing_record(copy):
    source = copy("kinetics")
    (source / f"train/air drumming/{CLIP}.mp4").unlink()
    (source / f"train/air drumming/{CLIP}.mp4.part").touch()
    published.mp4(source / "train/air drumming/AAAAAAAAAAA_000000_000010.mp4", 0, 0)
    listing = read("kinetics", source)
    assert listing.ignored[1:] == [
        "train/air drumming/AAAAAAAAAAA_000000_000010.mp4",
        f"train/air drumming/{CLIP}.mp4.part",
    ]
    manifest, _ = build(listing, PrepareSettings())
    assert manifest.num_rows == 6
    with DecoderProcess() as decoder:
        records = [process_video(row, PrepareSettings(flow="none"), decoder).record for row in manifest.to_pylist()]
    assert Counter(record["kind"] for record in records) == {"": 5, "missing": 1}


@pytest.mark.parametrize("place", ["", "train", "train/air drumming"])
def test_kinetics_in_whole_videos(copy, place):
    source = copy("kinetics")
    (source / f"train/air drumming/{CLIP}.mp4").rename(source / place / "-tQUuC4vJ00.mp4")
    row = read("kinetics", source).rows[0]
    assert (row.video_id, row.start_s, row.end_s) == (f"%2D{CLIP[1:]}", 84, 94)
    assert row.uri == str(source / place / "-tQUuC4vJ00.mp4")


def test_the_test_part_of_kinetics_is_val_where_it_has_labels_and_clips(copy):
    source = copy("kinetics")
    rows = [f"air drumming,testtesttes,{start},{start + 10},test" for start in (0, 20)]
    published.write(source / "test.csv", ["label,youtube_id,time_start,time_end,split", *rows])
    listing = read("kinetics", source)
    assert listing.ignored == ["test.csv, clips of the test part, of which none is there: 2"]
    assert counts(listing) == {("given", "train"): 4, ("given", "test"): 2}
    published.mp4(source / "test/testtesttes_000000_000010.mp4", 0, 0)
    listing = read("kinetics", source)
    assert listing.ignored == []
    assert counts(listing) == {("given", "train"): 4, ("given", "test"): 2, ("given", "val"): 2}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "84,94,train",
            "soon,94,train",
            "train.csv line 2 has time_start 'soon' and time_end '94', not a range",
        ),
        ("84,94,train", "94,84,train", "train.csv line 2 has time_start '94' and time_end '84', not a range"),
        ("84,94,train", "84", "train.csv line 2: 3 values in 5 columns; complete the row"),
        (
            "84,94,train",
            "84,94,train,x",
            "train.csv line 2: 6 values in 5 columns; put one that holds a comma in quotes",
        ),
        ("air drumming,", '"air drumming,', "train.csv line 2: a quote"),
        ("label,youtube_id", "label,label,youtube_id", "train.csv has two columns 'label'"),
        ("84,94,train", "84,94,dev", "train.csv line 2 has split 'dev', not one of train, training, val"),
        ("air drumming,-t", ",-t", "train.csv line 2 has no label"),
        ("_tQUuC4vJ01,85,95", "-tQUuC4vJ10,84,94", "line 4 repeats -tQUuC4vJ10_000084_000094 with another label"),
    ],
)
def test_kinetics_lists_with_wrong_lines(copy, old, new, message):
    source = copy("kinetics")
    replace(source / "train.csv", old, new)
    assert message in refusal("kinetics", source)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "is not a JSON file"),
        (b'[{"id": "1", "template"', "is not a JSON file"),
        (b"\x00\x01\x02", "is not a JSON file: line 1 holds a NUL byte"),
        (b"\xff\xfe[\x00", "is not a JSON file in UTF-8 but in UTF-16"),
        (b"7", "entry 1 has no 'id'"),
        (b'["x"]', "entry 1 has no 'id'"),
        (b'[{"id": ["1"], "template": "x"}]', "entry 1 has no 'id'"),
        (b'[{"id": "1", "template": null}]', "entry 1 has no 'template'"),
        (b"1" * 5000, "is not a JSON file"),
    ],
)
def test_lists_of_ssv2_that_are_nonsense(copy, text, message):
    source = copy("ssv2")
    (source / "something-something-v2-train.json").write_bytes(text)
    assert f"something-something-v2-train.json {message}" in refusal("ssv2", source)


@pytest.mark.parametrize("text", ["7", "[1, 2]", "null"])
def test_classes_of_ssv2_that_are_nonsense(copy, text):
    source = copy("ssv2")
    (source / "something-something-v2-labels.json").write_text(text)
    assert "something-something-v2-labels.json is not a list of names" in refusal("ssv2", source)


@pytest.mark.parametrize("text", ["7", '{"a": 1}', "[[1]]", '["x"]'])
def test_words_of_diving48_that_are_nonsense(copy, text):
    source = copy("diving48")
    (source / "Diving48_vocab.json").write_text(text)
    assert "Diving48_vocab.json is not a list of lists of words" in refusal("diving48", source)


@pytest.mark.parametrize("label", ["-1", '"a"', "true", "1.5", "null"])
def test_labels_of_diving48_that_are_nonsense(copy, label):
    source = copy("diving48")
    replace(source / "Diving48_V2_test.json", '"label": 0', f'"label": {label}')
    assert "Diving48_V2_test.json entry 1 has " in refusal("diving48", source)


def test_a_list_of_kinetics_that_a_spreadsheet_has_written(copy):
    source = copy("kinetics")
    for path in source.glob("*.csv"):
        text = path.read_text().replace('"', "")
        path.write_text("\ufeff" + text.replace(",", ";"))
    assert "is separated by semicolons" in refusal("kinetics", source)


def test_kinetics_without_clips_or_lists(copy):
    source = copy("kinetics")
    for part in ("train", "val"):
        shutil.rmtree(source / part)
    message = f"{source} holds none of the 6 labelled clips in its lists: train/air drumming/{CLIP}.mp4, "
    assert message in refusal("kinetics", source)
    for part in ("train", "val", "test"):
        replace(source / f"{part}.csv", "time_start", "begin")
    assert "holds no CSV file with the columns split, time_end, time_start, youtube_id (Kinetics)" in refusal(
        "kinetics", source
    )


def test_hacs(originals):
    listing = read("hacs", originals["hacs"])
    rows = {row.video_id: row for row in listing.rows}
    assert len(rows) == 6
    row = rows["Applying_sunscreen%2Fv_t2X2hz1G6i1@1500-3500"]
    assert (row.label, row.start_s, row.end_s, row.group) == ("Applying sunscreen", 1.5, 3.5, "t2X2hz1G6i1")
    assert row.parts == {"given": "train"}
    assert rows["Archery%2Fv_v2X2hz1G6i0@1000-3000"].parts == {"given": "test"}
    assert listing.ignored == [
        "HACS_clips_v1.1.1.csv, clips that do not show their class (label -1): 2",
        "HACS_clips_v1.1.1.csv, clips without a label: 1",
    ]


def test_hacs_with_wrong_lines(copy):
    source = copy("hacs")
    replace(source / "HACS_v1.1.1/HACS_clips_v1.1.1.csv", "0.0,2.0,1", "0.0,2.0,0")
    assert "HACS_clips_v1.1.1.csv line 2 has label '0' of class 'Archery', not 1 or -1" in refusal("hacs", source)


def test_moments(copy):
    source = copy("moments")
    (source / "training/blocking/yt-txQfALnTdfc_10.mp4").unlink()
    listing = read("moments", source)
    assert seen(listing)["adult+female+singing%2Fyt-vxQfALnTdfc_00"] == ("adult+female+singing", "test")
    assert len(listing.rows) == 6
    assert {row.uri for row in listing.rows if not os.path.exists(row.uri)} == {
        str(source / "training/blocking/yt-txQfALnTdfc_10.mp4")
    }
    replace(source / "trainingSet.csv", "blocking/yt-txQfALnTdfc_10.mp4,blocking", "blocking")
    assert "trainingSet.csv line 3 has no path and label" in refusal("moments", source)


def test_ssv2(originals):
    listing = read("ssv2", originals["ssv2"])
    assert seen(listing)["1"] == ("Holding something next to something", "train")
    assert seen(listing)["6"] == ("Something falling like a feather or paper", "test")
    assert set(seen(listing)) == {"1", "2", "3", "4", "5", "6"}
    assert listing.ignored == ["something-something-v2-test.json, videos without a label: 2"]


def newer_package(source, prefix):
    """The lists as in newer packages, with the labels of the test part."""
    (source / "labels").mkdir()
    for path in source.glob(f"{prefix}-*"):
        path.rename(source / "labels" / path.name.removeprefix(f"{prefix}-"))


def test_ssv2_with_the_labels_of_the_test_part(copy):
    source = copy("ssv2")
    newer_package(source, "something-something-v2")
    assert counts(read("ssv2", source)) == {("given", "train"): 4, ("given", "test"): 2}
    answers = [f"{video};Holding something next to something" for video in (7, 8)]
    published.write(source / "labels/test-answers.csv", answers)
    listing = read("ssv2", source)
    assert counts(listing) == {("given", "train"): 4, ("given", "test"): 2, ("given", "val"): 2}
    assert listing.ignored == []
    for video in (7, 8):
        (source / f"20bn-something-something-v2/{video}.webm").unlink()
    listing = read("ssv2", source)
    assert counts(listing) == {("given", "train"): 4, ("given", "test"): 2}
    assert listing.ignored == ["test part, of which no video is there: 2"]


def test_ssv2_lists_that_do_not_match(copy):
    source = copy("ssv2")
    replace(source / "something-something-v2-train.json", "Holding [something] next", "Hiding [something] next")
    replace(source / "something-something-v2-validation.json", '"id": "5"', '"id": "1"')
    (source / "20bn-something-something-v2/2.webm").unlink()
    message = refusal("ssv2", source)
    assert "something-something-v2-train.json entry 1 has the unknown class 'Hiding something next to som" in message
    assert "2.webm is listed but missing, 5.webm is there but not listed;" in message
    replace(source / "something-something-v2-train.json", '"template"', '"form"')
    assert "something-something-v2-train.json entry 1 has no 'template': download it" in refusal("ssv2", source)
    (source / "something-something-v2-train.json").write_text("[")
    assert "something-something-v2-train.json is not a JSON file" in refusal("ssv2", source)
    (source / "something-something-v2-train.json").unlink()
    assert "holds no something-something-v2-train.json and no labels/something" in refusal("ssv2", source)


@pytest.mark.parametrize(("name", "prefix"), [("jester", "jester-v1"), ("ssv1", "something-something-v1")])
def test_jester_and_ssv1(copy, name, prefix):
    source = copy(name)
    listing = read(name, source)
    labels = {"jester": published.JESTER, "ssv1": published.SSV1}[name]
    train = {str(video): (labels[(video - 1) // 2], "train") for video in range(1, 5)}
    assert seen(listing) == train | {"5": (labels[0], "test"), "6": (labels[1], "test")}
    assert listing.rows[0].uri == str(source / f"20bn-{prefix}" / "1")
    assert listing.ignored == [f"{prefix}-test.csv, videos without a label: 2"]
    newer_package(source, prefix)
    published.write(source / "labels/test-answers.csv", [f"7;{labels[0]}", f"8;{labels[1]}"])
    assert counts(read(name, source)) == {("given", "train"): 4, ("given", "test"): 2, ("given", "val"): 2}


def test_jester_lists_that_do_not_match(copy):
    source = copy("jester")
    replace(source / "jester-v1-train.csv", "1;Swiping Left", "1;Swiping Lift")
    replace(source / "jester-v1-train.csv", "2;Swiping Left", "2,Swiping Left")
    shutil.rmtree(source / "20bn-jester-v1/6")
    (source / "20bn-jester-v1/99").mkdir()
    touch(source / "20bn-jester-v1/notes.txt")
    message = refusal("jester", source)
    assert "jester-v1-train.csv line 1 has the unknown class 'Swiping Lift'" in message
    assert "jester-v1-train.csv line 2 has the unknown class ''" in message
    assert "6 is listed but missing" in message
    assert "99 is there but not listed" in message
    assert "notes" not in message
    (source / "20bn-jester-v1").rename(source / "frames")
    assert "exactly one of the folders 20bn-jester-v1 and 20bn-something-something-v1" in refusal("jester", source)


def test_diving48(copy):
    source = copy("diving48")
    listing = read("diving48", source)
    assert seen(listing)["%2Dmmq0PT-ur0_00050"] == ("Back 15som 05Twis FREE", "train")
    assert seen(listing)["%2Dmmq0PT-ue0_00150"] == ("Forward 35som NoTwis PIKE", "test")
    assert {row.group for row in listing.rows} == {"-mmq0PT-ur0", "-mmq0PT-ur1", "-mmq0PT-ue0"}
    replace(source / "Diving48_V2_test.json", '"label": 1', '"label": 48')
    (source / "rgb/-mmq0PT-ur0_00050.mp4").unlink()
    message = refusal("diving48", source)
    assert "Diving48_V2_test.json entry 2 has label 48, but Diving48_vocab.json has 2" in message
    assert "-mmq0PT-ur0_00050.mp4 is listed but missing" in message


def test_diving48_without_the_names_of_its_classes(copy):
    source = copy("diving48")
    (source / "Diving48_vocab.json").unlink()
    assert {label for label, _ in seen(read("diving48", source)).values()} == {"00", "01"}


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
