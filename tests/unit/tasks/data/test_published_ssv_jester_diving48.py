"""Something-Something, Jester and Diving48."""

import shutil

import published_layouts as published
import pytest
from published_lists import counts, read, refusal, replace, seen, touch

pytestmark = pytest.mark.quick


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
