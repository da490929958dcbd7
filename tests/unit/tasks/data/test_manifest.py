import random
from collections import Counter, defaultdict
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.manifest import (
    MANIFEST,
    SPLITS,
    Listing,
    Row,
    build,
    classes_of,
    digest,
    part_numbers,
    video_id_of,
    video_ids_of,
)
from tasks.data.settings import PrepareSettings
from tasks.errors import UserError

pytestmark = pytest.mark.quick


def row(name, label="a", **fields):
    return Row(video_id=video_id_of(name), uri=f"/videos/{name}.mp4", label=label, **fields)


def many(classes="abc", videos=20, groups=None):
    return [
        row(f"{label}/{i:03d}", label, group=None if groups is None else f"p{i % groups}")
        for label in classes
        for i in range(videos)
    ]


def parts_of(rows, settings=None):
    _, splits = build(Listing(rows), settings or PrepareSettings())
    assert set(splits["split"].to_pylist()) == {"seeded"}
    return dict(zip(splits["video_id"].to_pylist(), splits["part"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("text", "video_id"),
    [
        ("v_Yo_g01_c01", "v_Yo_g01_c01"),
        ("A1/PS7A1P1T1", "A1%2FPS7A1P1T1"),
        ("a.b", "a%2Eb"),
        ("..", "%2E%2E"),
        ("100%", "100%25"),
        ("-v", "%2Dv"),
        ("a-b", "a-b"),
        ("a__b___c", "a_%5Fb_%5F_c"),
        ("__key__", "_%5Fkey_%5F"),
        ("x~0001", "x%7E0001"),
        ("tab\there\x7f", "tab%09here%7F"),
        ("行動 név", "行動 név"),
        ("bad\udcff", "bad%FF"),
        ("back\\slash", "back%5Cslash"),
    ],
)
def test_video_ids(text, video_id):
    assert video_id_of(text) == video_id
    assert unquote(video_id, errors="surrogateescape") == text


def test_columns_and_order():
    manifest, splits = build(Listing(many()), PrepareSettings())
    assert manifest.schema == MANIFEST
    assert splits.schema == SPLITS
    assert manifest["video_id"].to_pylist() == sorted(manifest["video_id"].to_pylist())
    assert classes_of(manifest) == ["a", "b", "c"]
    assert dict(zip(manifest["label"].to_pylist(), manifest["label_id"].to_pylist(), strict=True)) == {
        "a": 0,
        "b": 1,
        "c": 2,
    }


def test_same_bytes_whatever_the_order_of_the_listing(tmp_path):
    rows = many(groups=5)
    first = build(Listing(rows), PrepareSettings())
    random.Random(1).shuffle(rows)
    second = build(Listing(rows), PrepareSettings())
    for name, a, b in zip(("manifest", "splits"), first, second, strict=True):
        assert digest(a) == digest(b)
        pq.write_table(a, tmp_path / f"{name}-a")
        pq.write_table(b, tmp_path / f"{name}-b")
        assert (tmp_path / f"{name}-a").read_bytes() == (tmp_path / f"{name}-b").read_bytes()


def test_digest_survives_parquet_and_sees_every_cell(tmp_path):
    manifest, _ = build(Listing(many()), PrepareSettings())
    pq.write_table(manifest, tmp_path / "m.parquet", row_group_size=7)
    assert digest(pq.read_table(tmp_path / "m.parquet")) == digest(manifest)
    for column in MANIFEST.names:
        rows = manifest.to_pylist()
        rows[5][column] = {"label_id": 9, "start_s": 1.0, "end_s": 2.0}.get(column, "other")
        assert digest(pa.Table.from_pylist(rows, schema=MANIFEST)) != digest(manifest)


def test_digests_are_those_of_datasets_that_exist():
    columns = [["a", "走"], ["/a.mp4", "/走.mp4"], ["x", "x"], [0, 0], [None, "g"], [0.5, None], [None, None]]
    table = pa.table(dict(zip(MANIFEST.names, columns, strict=True)), schema=MANIFEST)
    assert digest(table) == "0d9853eda51dc40cda9b469439d3cf352ddcfe90a4b2d0607cc58910f80f3c71"
    assert digest(table.slice(1)) == "add51e6407cdcd95abcb124fa019cfbe96ec9bc01b54793cc6989dc740f763da"


def test_parts_of_all_videos_or_some_in_any_order():
    videos = pa.chunked_array([["a", "b"], ["c"]])
    split = pa.table({"split": ["s"] * 3, "video_id": ["a", "b", "c"], "part": ["test", "train", "val"]}, schema=SPLITS)
    assert part_numbers(split, videos).tolist() == [2, 0, 1]
    assert part_numbers(split.take([2, 0, 1]), videos).tolist() == [2, 0, 1]
    assert part_numbers(split.take([2, 0]), videos).tolist() == [2, 3, 1]


def test_two_videos_of_one_id_are_refused_with_both_files():
    clash = [row("a/Clip"), Row(video_id=video_id_of("a/clip"), uri="/videos/a/clip.avi", label="a")]
    with pytest.raises(UserError, match=r"same id .*/videos/a/Clip\.mp4 and /videos/a/clip\.avi"):
        build(Listing(clash), PrepareSettings())
    composed = [row("caf\u00e9"), row("cafe\u0301")]
    with pytest.raises(UserError, match="same id"):
        build(Listing(composed), PrepareSettings())


def test_no_videos_and_names_that_are_no_text():
    with pytest.raises(UserError, match="no videos"):
        build(Listing([]), PrepareSettings())
    with pytest.raises(UserError, match="UTF-8"):
        build(Listing([row("bad\udcff")]), PrepareSettings())


def test_seeded_split_has_the_asked_shares_in_each_class():
    parts = parts_of(many(videos=20))
    for label in "abc":
        assert Counter(part for name, part in parts.items() if name[0] == label) == {"train": 14, "val": 3, "test": 3}


def test_seed_and_fractions_decide():
    rows = many()
    assert parts_of(rows) == parts_of(rows)
    assert parts_of(rows) != parts_of(rows, PrepareSettings(seed=1))
    assert Counter(parts_of(rows, PrepareSettings(val_fraction=0.0, test_fraction=0.5)).values()) == {
        "train": 30,
        "test": 30,
    }
    assert set(parts_of(rows, PrepareSettings(val_fraction=0, test_fraction=0)).values()) == {"train"}


@pytest.mark.parametrize(("groups", "trained"), [(3, 1), (10, 6)])
def test_groups_are_never_divided(groups, trained):
    rows = many(videos=groups * 2, groups=groups)
    parts = parts_of(rows)
    where = defaultdict(set)
    for r in rows:
        where[r.group].add(parts[r.video_id])
    assert all(len(found) == 1 for found in where.values())
    assert abs(Counter(part for (part,) in where.values())["train"] - trained) <= 1
    assert {(r.label, parts[r.video_id]) for r in rows} == {(c, p) for c in "abc" for p in ("train", "val", "test")}


def test_uneven_groups_of_one_class_each_keep_proportions():
    rng = random.Random(0)
    rows = []
    for label in "ab":
        for g in range(30):
            rows += [row(f"{label}/{g}-{i}", label, group=f"{label}{g}") for i in range(rng.randint(1, 8))]
    parts = parts_of(rows)
    for label in "ab":
        counts = Counter(parts[r.video_id] for r in rows if r.label == label)
        assert counts["train"] / counts.total() == pytest.approx(0.7, abs=0.05)
        assert counts["val"] / counts.total() == pytest.approx(0.15, abs=0.04)


@pytest.mark.parametrize("seed", range(8))
def test_smallest_class_that_can_be_divided_is(seed):
    rows = [*many("a", 40), *many("b", 3)]
    parts = parts_of(rows, PrepareSettings(seed=seed))
    assert sorted(part for name, part in parts.items() if name[0] == "b") == ["test", "train", "val"]


def test_too_small_a_class_is_refused():
    with pytest.raises(UserError, match=r"class 'b' has 2 videos in 2 groups, too few .* train, val, test"):
        parts_of([*many("a"), *many("b", 2)])
    with pytest.raises(UserError, match=r"class 'b' has 9 videos in 1 group"):
        parts_of([*many("a"), *many("b", 9, groups=1)])
    assert len(parts_of([*many("a"), *many("b", 2)], PrepareSettings(val_fraction=0.0))) == 22


def test_given_splits_are_taken_as_they_are():
    rows = [row(f"a/{i}", "a", parts={"given": "train" if i else "test", "split2": "train"}) for i in range(3)]
    rows.append(row("a/unused", "a"))
    _, splits = build(Listing(rows), PrepareSettings())
    assert Counter(zip(splits["split"].to_pylist(), splits["part"].to_pylist(), strict=True)) == {
        ("given", "train"): 2,
        ("given", "test"): 1,
        ("split2", "train"): 3,
    }


def test_given_split_that_cannot_train_a_class_is_refused():
    rows = [row("a/1", "a", parts={"given": "train"}), row("b/1", "b", parts={"given": "test"})]
    with pytest.raises(UserError, match="'given' has no training video of 'b'"):
        build(Listing(rows), PrepareSettings())


def test_given_split_without_any_training_video_is_for_evaluation():
    rows = [row("a/1", "a", parts={"given": "val"}), row("b/1", "b", parts={"given": "test"})]
    _, splits = build(Listing(rows), PrepareSettings())
    assert splits["part"].to_pylist() == ["val", "test"]


def test_ids_drop_the_ending_unless_it_alone_makes_a_difference():
    paths = ["x/a.mp4", "x/b.MP4", "x/B.avi", "x/v.1.2.webm", "x/.hidden", "x/frames", "y.d/a", "x/caf\u00e9.mp4"]
    assert list(video_ids_of([*paths, *paths, "x/cafe\u0301.mkv"]).values()) == [
        "x%2Fa",
        "x%2Fb%2EMP4",
        "x%2FB%2Eavi",
        "x%2Fv%2E1%2E2",
        "x%2F%2Ehidden",
        "x%2Fframes",
        "y%2Ed%2Fa",
        "x%2Fcaf\u00e9%2Emp4",
        "x%2Fcaf\u00e9%2Emkv",
    ]


def test_labels_and_groups_have_one_form():
    manifest, _ = build(
        Listing([row("1", "caf\u00e9", group="e\u0301"), row("2", "cafe\u0301", group="\u00e9")]),
        PrepareSettings(val_fraction=0, test_fraction=0),
    )
    assert classes_of(manifest) == ["caf\u00e9"]
    assert manifest["group"].to_pylist() == ["\u00e9", "\u00e9"]
