"""UCF101 and HMDB51."""

import shutil
from pathlib import Path

import published_layouts as published
import pytest
from published_lists import FOLDS, read, refusal, replace, touch

pytestmark = pytest.mark.quick


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
