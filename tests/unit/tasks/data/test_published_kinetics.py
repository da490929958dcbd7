"""Kinetics, HACS and Moments in Time."""

import os
import shutil
from collections import Counter

import published_layouts as published
import pytest
from published_lists import counts, read, refusal, replace, seen

from tasks.data.manifest import build
from tasks.data.process import process_video
from tasks.data.settings import PrepareSettings
from tasks.video import DecoderProcess

pytestmark = pytest.mark.quick

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
