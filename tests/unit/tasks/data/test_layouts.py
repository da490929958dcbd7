import os

import pytest
from paths import VIDEOS

from tasks.data import layouts
from tasks.data.manifest import build
from tasks.data.settings import PrepareSettings
from tasks.errors import UserError

pytestmark = pytest.mark.quick
real = pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"no real clips at {VIDEOS} (MAREY_TEST_VIDEOS)")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return str(root)


def seen(listing):
    return {row.video_id: (row.label, row.parts) for row in listing.rows}


def test_names_and_unknown_layout(tmp_path):
    assert {"csv", "folder"} <= set(layouts.names())
    with pytest.raises(UserError, match="unknown layout 'foldr'; did you mean 'folder'"):
        layouts.read("foldr", str(tmp_path))


def test_class_folders(tmp_path):
    source = touch(tmp_path, "jump/1.mp4", "jump/2.weird", "jump/noending", "run/1.avi", "readme.txt")
    touch(tmp_path, ".git/config", "jump/.hidden.mp4", "jump/deeper/3.mp4")
    (tmp_path / "empty class").mkdir()
    listing = layouts.read("folder", source)
    assert seen(listing) == {
        "jump%2F1": ("jump", {}),
        "jump%2F2": ("jump", {}),
        "jump%2Fnoending": ("jump", {}),
        "run%2F1": ("run", {}),
    }
    assert sorted(listing.ignored) == [".git", "jump/.hidden.mp4", "jump/deeper/3.mp4", "readme.txt"]
    assert all(os.path.isabs(row.uri) and os.path.exists(row.uri) for row in listing.rows)


def test_relative_source(tmp_path, monkeypatch):
    touch(tmp_path, "set/jump/1.mp4")
    monkeypatch.chdir(tmp_path)
    assert layouts.read("folder", "set/").rows[0].uri == str(tmp_path / "set/jump/1.mp4")


@pytest.mark.parametrize(("on_disk", "asked"), [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_a_source_is_found_by_either_form_of_its_name(tmp_path, on_disk, asked):
    touch(tmp_path, f"{on_disk}/jump/1.mp4")
    (row,) = layouts.read("folder", str(tmp_path / asked)).rows
    assert row.uri == str(tmp_path / on_disk / "jump/1.mp4")


def test_parts_above_the_classes(tmp_path):
    source = touch(tmp_path, "train/jump/1.mp4", "train/run/1.mp4", "test/jump/1.mp4", "train/list.txt", ".x")
    listing = layouts.read("folder", source)
    assert seen(listing) == {
        "train%2Fjump%2F1": ("jump", {"given": "train"}),
        "train%2Frun%2F1": ("run", {"given": "train"}),
        "test%2Fjump%2F1": ("jump", {"given": "test"}),
    }
    assert sorted(listing.ignored) == [".x", "train/list.txt"]


def test_classes_that_are_called_like_parts(tmp_path):
    assert seen(layouts.read("folder", touch(tmp_path, "train/1.mp4", "test/1.mp4", "plane/1.mp4"))) == {
        "train%2F1": ("train", {}),
        "test%2F1": ("test", {}),
        "plane%2F1": ("plane", {}),
    }


def test_folder_refusals(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        layouts.read("folder", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no class folders with videos"):
        layouts.read("folder", str(tmp_path))
    touch(tmp_path, "1.mp4")
    with pytest.raises(UserError, match="no class folders with videos"):
        layouts.read("folder", str(tmp_path))
    with pytest.raises(UserError, match="is a file, not a folder: a table of videos needs --layout csv"):
        layouts.read("folder", str(tmp_path / "1.mp4"))
    touch(tmp_path, "train/jump/1.mp4", "extra/jump/1.mp4")
    with pytest.raises(UserError, match="'extra' beside train"):
        layouts.read("folder", str(tmp_path))


def test_folders_inside_class_folders_are_counted_in_videos(tmp_path):
    half = touch(tmp_path / "half", *(f"{label}/{i}.mp4" for label in "ab" for i in range(2)))
    touch(
        tmp_path / "half",
        *(f"{label}/p1/day 2/{i}.mp4" for label in "ab" for i in range(10)),
        "a/p1/.hidden",
        "a/p1/list.csv",
    )
    touch(tmp_path / "half", *(f"b/p2/day 1/img_{i:05d}.jpg" for i in range(1, 10)))
    listing = layouts.read("folder", half)
    assert (len(listing.rows), len(listing.ignored)) == (4, 22)
    (note,) = listing.notes
    assert note.startswith(
        "4 videos lie in class folders; folders inside the class folders hold 21 more videos, such as a/p1"
    )
    whole = touch(tmp_path / "whole", *(f"{label}/p1/{i}.mp4" for label in "ab" for i in range(3)))
    with pytest.raises(UserError, match=r"/<video>, .*; folders inside .* hold 6 more videos, such as a/p1/0\.mp4"):
        layouts.read("folder", whole)


def frames(*folders, name="img_{:05d}.jpg", first=1):
    return [f"{folder}/{name.format(number)}" for folder in folders for number in range(first, first + 3)]


@pytest.mark.parametrize(
    ("name", "first"), [("img_{:05d}.jpg", 1), ("{:05d}.jpg", 1), ("frame{:06d}.png", 0), ("image-{}.JPEG", 1)]
)
def test_a_folder_of_frames_in_a_class_folder_is_a_video(tmp_path, name, first):
    source = touch(tmp_path, *frames("jump/v_1.a", "jump/v_1.b", "run/v_1", name=name, first=first))
    touch(tmp_path, "jump/v_1.a/flow_x_00001.jpg", "run/v_1/Thumbs.txt", "run/v_1/.hidden")
    listing = layouts.read("folder", source, r"v_(\d)")
    assert seen(listing) == {"jump%2Fv_1%2Ea": ("jump", {}), "jump%2Fv_1%2Eb": ("jump", {}), "run%2Fv_1": ("run", {})}
    assert [row.uri for row in listing.rows] == [str(tmp_path / p) for p in ("jump/v_1.a", "jump/v_1.b", "run/v_1")]
    assert {row.group for row in listing.rows} == {"1"}
    assert not listing.ignored + listing.notes


def test_files_and_folders_of_frames_are_videos_side_by_side(tmp_path):
    source = touch(tmp_path, "jump/1.mp4", "jump/3.avi", "jump/2.json", *frames("jump/2", "jump/3"), "run/1.mp4")
    touch(tmp_path, *frames("run/both"), "run/both/clip.mp4", "run/other/out_1.jpg")
    listing = layouts.read("folder", source)
    assert set(seen(listing)) == {"jump%2F1", "jump%2F2", "jump%2F3", "jump%2F3%2Eavi", "run%2F1"}
    assert sorted(listing.ignored) == [
        "jump/2.json",
        "run/both/clip.mp4",
        *frames("run/both"),
        "run/other/out_1.jpg",
    ]
    nested, twice = listing.notes
    assert (
        "5 videos lie in class folders; folders inside the class folders hold 1 more video, such as run/both/clip.mp4"
        in nested
    )
    assert "1 folder of frames has the name of a file beside it, such as jump/3:" in twice


def test_frames_below_parts(tmp_path):
    source = touch(tmp_path, *frames("train/jump/1", "train/run/1", "val/jump/2"), "test/run/3.mp4")
    assert seen(layouts.read("folder", source)) == {
        "train%2Fjump%2F1": ("jump", {"given": "train"}),
        "train%2Frun%2F1": ("run", {"given": "train"}),
        "val%2Fjump%2F2": ("jump", {"given": "val"}),
        "test%2Frun%2F3": ("run", {"given": "test"}),
    }


def test_frames_of_classes_that_are_called_like_parts(tmp_path):
    source = touch(tmp_path / "vehicles", *frames("train/1", "plane/1"))
    assert seen(layouts.read("folder", source)) == {"train%2F1": ("train", {}), "plane%2F1": ("plane", {})}
    source = touch(tmp_path / "unlabelled", *frames("train/1", "test/1"))
    with pytest.raises(UserError, match=r"the folders in .*/train hold frames, and no label: .*/train/<class>/<video>"):
        layouts.read("folder", source)


def test_thumbnails_of_videos_are_no_video(tmp_path):
    source = touch(tmp_path, *(f"jump/{i}.mp4" for i in range(1, 6)), *(f"jump/thumbs/{i}.jpg" for i in range(1, 5)))
    listing = layouts.read("folder", source)
    assert len(listing.rows) == 5
    assert "jump/thumbs" in listing.ignored


def test_a_link_to_a_folder_of_frames_is_followed(tmp_path):
    touch(tmp_path, *frames("elsewhere/1"), "set/run/1.mp4")
    (tmp_path / "set" / "jump").mkdir()
    (tmp_path / "set" / "jump" / "1").symlink_to(tmp_path / "elsewhere" / "1")
    (tmp_path / "set" / "jump" / "loop").symlink_to(tmp_path / "set")
    assert set(seen(layouts.read("folder", str(tmp_path / "set")))) == {"jump%2F1", "run%2F1"}


BESIDE = ["1.json", "1.en.srt", "1.THM", "1.info.json", "1.mp4.md5", "1.LRV", "1.jpg", "1.wav", "1.unknown"]


def test_files_beside_a_video_of_the_same_name_are_ignored(tmp_path):
    source = touch(tmp_path, "jump/1.MP4", "jump/10.mp4", "jump/alone.json", *(f"jump/{name}" for name in BESIDE))
    listing = layouts.read("folder", source)
    assert set(seen(listing)) == {"jump%2F1", "jump%2F10", "jump%2Falone"}
    assert sorted(listing.ignored) == sorted(f"jump/{name}" for name in BESIDE)


def test_videos_of_one_stem_are_videos_whose_ids_keep_the_ending(tmp_path):
    source = touch(tmp_path, "jump/a.mp4", "jump/A.avi", "jump/b.mp4", "jump/b.json", "run/a.mp4", "jump/c.txt")
    (tmp_path / "jump/a.other").write_bytes(b"\x00\x01\xff")  # it may be a video, for all that its name says
    (tmp_path / "jump/c.srt").touch()
    assert {video_id.partition("%2F")[2] for video_id in seen(layouts.read("folder", source))} == {
        "a%2Emp4",
        "A%2Eavi",
        "a%2Eother",
        "b",
        "a",
        "c%2Etxt",
        "c%2Esrt",
    }


@pytest.mark.parametrize("parts", [["test"], ["val"], ["val", "test"]])
def test_a_source_for_evaluation_only(tmp_path, parts):
    source = touch(tmp_path, *(f"{part}/{label}/{part}{label}.mp4" for part in parts for label in "ab"))
    listing = layouts.read("folder", source)
    assert {(row.label, row.parts["given"]) for row in listing.rows} == {(a, p) for a in "ab" for p in parts}
    _, splits = build(listing, PrepareSettings())
    assert set(splits["split"].to_pylist()) == {"given"}


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path, "elsewhere/1.mp4")
    (tmp_path / "set" / "jump").mkdir(parents=True)
    (tmp_path / "set" / "jump" / "1.mp4").symlink_to(tmp_path / "elsewhere" / "1.mp4")
    (tmp_path / "set" / "jump" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "run").symlink_to(tmp_path / "elsewhere")
    assert set(seen(layouts.read("folder", str(tmp_path / "set")))) == {"jump%2F1", "run%2F1"}


def test_groups_by_pattern(tmp_path):
    source = touch(tmp_path, "A1/PS7A1P2T3.avi")
    assert layouts.read("folder", source, r"A\dP(\d)").rows[0].group == "2"
    assert layouts.read("folder", source, r"P\dT").rows[0].group == "P2T"
    with pytest.raises(UserError, match=r"finds nothing in 'A1/PS7A1P2T3\.avi'"):
        layouts.read("folder", source, "person")
    with pytest.raises(UserError, match="not a regular expression"):
        layouts.read("folder", source, "(")


def test_folder_on_another_file_system():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/set/jump/1.mp4": b"x", "/set/run/1.mp4": b"x", "/set/notes": b"x"})
    memory.pipe({f"/set/run/2/{number}.jpg": b"x" for number in range(3)})
    listing = layouts.read("folder", "memory://set")
    assert [row.uri for row in listing.rows] == [
        f"memory://set/{name}" for name in ("jump/1.mp4", "run/1.mp4", "run/2")
    ]
    assert listing.ignored == ["notes"]


def csv_file(tmp_path, text, *videos):
    touch(tmp_path, *videos)
    (tmp_path / "videos.csv").write_text(text, encoding="utf-8")
    return str(tmp_path / "videos.csv")


def test_csv(tmp_path):
    source = csv_file(
        tmp_path,
        '\ufeffpath,label,group,start_s,end_s\nx/1.mp4,jump,p1,,\nx/1.mp4,"run, fast",p1,1.5,3\n../o.mp4,jump,,2,\n',
        "x/1.mp4",
        "../o.mp4",
    )
    rows = layouts.read("csv", source).rows
    assert [row.video_id for row in rows[:2]] == ["x%2F1", "x%2F1@1500-3000"]
    assert rows[1].label == "run, fast"
    assert (rows[1].start_s, rows[1].end_s, rows[1].group) == (1.5, 3.0, "p1")
    assert rows[2].video_id.endswith("%2Fo@2000-")
    assert rows[2].uri == str(tmp_path.parent / "o.mp4")
    assert rows[2].group is None


def test_csv_with_splits_and_ids(tmp_path):
    source = csv_file(
        tmp_path,
        "video_id,path,label,part,split1\nfirst.one,a.mp4,jump,train,test\n,b.mp4,jump,,train\n",
        "a.mp4",
        "b.mp4",
    )
    assert seen(layouts.read("csv", source)) == {
        "first%2Eone": ("jump", {"given": "train", "split1": "test"}),
        "b": ("jump", {"split1": "train"}),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'"),
        ("path\na.mp4\n", "no column 'label'"),
        ("path,label\n", "no rows"),
        ("path,label\na.mp4,\n", "line 2: path and label must not be empty"),
        ("path,label,start_s\na.mp4,x,soon\n", "line 2: start_s must be a number of seconds, not 'soon'"),
        ("path,label,start_s\na.mp4,x,nan\n", "line 2: start_s must be a number of seconds, not 'nan'"),
        ("path,label,start_s,end_s\na.mp4,x,3,2\n", "line 2: end_s must be after start_s 3, not 2"),
        (
            "path,label,part\na.mp4,x,train\na.mp4,x,training\n",
            "line 3: part must be train, val or test, not 'training'",
        ),
        ("path,label\n" + "".join(f"{i}.mp4,x\n" for i in range(12)), r"12 videos .*: 0\.mp4, .*9\.mp4 and 2 more"),
    ],
)
def test_csv_refusals(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        layouts.read("csv", csv_file(tmp_path, text, "a.mp4"))


def test_csv_that_is_none(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        layouts.read("csv", str(tmp_path / "videos.csv"))
    with pytest.raises(UserError, match="is not a CSV file"):
        layouts.read("csv", str(tmp_path))
    (tmp_path / "clip.mp4").write_bytes(b"\x00\xff\xfe\x80")
    with pytest.raises(UserError, match="is not a CSV file"):
        layouts.read("csv", str(tmp_path / "clip.mp4"))


@real
def test_real_sets():
    listing = layouts.read("folder", str(VIDEOS / "arm_gestures"), r"A\dP(\d)")
    assert len(listing.rows) == 27
    assert {row.group for row in listing.rows} == {"1", "2", "3"}
    manifest, splits = build(listing, PrepareSettings())
    assert manifest.num_rows == splits.num_rows == 27
    listing = layouts.read("csv", str(VIDEOS / "fight_surv" / "groups.csv"))
    assert len(listing.rows) == 204
    manifest, splits = build(listing, PrepareSettings())
    group = dict(zip(manifest["video_id"].to_pylist(), manifest["group"].to_pylist(), strict=True))
    divided = {(group[v], p) for v, p in zip(splits["video_id"].to_pylist(), splits["part"].to_pylist(), strict=True)}
    assert len(divided) == len({g for g, _ in divided})
