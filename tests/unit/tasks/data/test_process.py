import json
from collections import Counter

import numpy as np
import pytest
from paths import VIDEOS

import tasks.video.child as child_module
from tasks.data.process import frames_and_flow, process_video
from tasks.data.sample import ArrowFile, read_rgb
from tasks.data.settings import PrepareSettings
from tasks.video import TVL1, DecoderProcess, VideoError, decode, quantize, tvl1
from tasks.video.codecs import write_mp4
from tasks.video.flow import to_gray

FAST = TVL1(warps=1, scales=2, inner_iterations=5, outer_iterations=1)


def settings(**fields):
    return PrepareSettings(**{"short_side": 32, "tvl1": FAST, **fields})


def video(path, frames=25):
    ys, xs = np.mgrid[0:48, 0:64]
    images = [np.uint8(127 + 100 * np.sin((xs - 2 * t) / 7) * np.cos(ys / 5)) for t in range(frames)]
    write_mp4(path, np.stack(images)[..., None].repeat(3, -1), 25)
    return str(path)


def row(uri, **fields):
    base = {"video_id": "a%2Fclip", "uri": str(uri), "label": "a", "label_id": 0, "group": "p1"}
    return base | {"start_s": None, "end_s": None} | fields


@pytest.fixture(scope="module")
def decoder():
    with DecoderProcess() as child:
        yield child


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return video(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.mark.quick
def test_record_and_members(clip, decoder):
    done = process_video(row(clip), settings(), decoder)
    record = dict(done.record)
    assert record.pop("seconds") == pytest.approx(sum(done.seconds.values()), abs=1e-3)
    assert record == {
        "video_id": "a%2Fclip",
        "status": "ok",
        "kind": "",
        "message": "",
        "decoder": decode(clip, count=1).decoder,
        "frames": 25,
        "flows": 24,
        "width": 43,
        "height": 32,
        "fps": 25.0,
        "pieces": [{"first": 0, "frames": 25, "flows": 24}],
    }
    members = dict(done.members)
    assert list(members) == ["a%2Fclip.json", "a%2Fclip.rgb.arrow", "a%2Fclip.flow.arrow"]
    content = json.loads(members["a%2Fclip.json"])
    assert (content["label"], content["label_id"], content["group"], content["source"]) == ("a", 0, "p1", clip)
    assert (content["frames"], content["flows"], content["piece"], content["fps"]) == (25, 24, 1, 25.0)
    images = decode(clip, short_side=32).images
    stored = ArrowFile(members["a%2Fclip.rgb.arrow"]).rgb(range(25))
    assert np.abs(stored.astype(int) - images).mean() < 2
    flow = ArrowFile(members["a%2Fclip.flow.arrow"])
    assert flow.metadata == {"height": 32, "width": 43, "quality": 95, "bound": 20}
    exact = quantize(tvl1(to_gray(images), FAST))
    assert np.abs(flow.flow(range(24)).astype(int) - exact).mean() < 1


@pytest.mark.quick
def test_flow_of_blocks_is_the_flow_of_the_whole(clip):
    images = decode(clip, short_side=32).images
    frames, flow = frames_and_flow(images, settings())
    assert frames is images
    assert np.array_equal(flow, quantize(tvl1(to_gray(images), FAST)))
    assert frames_and_flow(images, settings(flow="none"))[1] is None


@pytest.mark.quick
@pytest.mark.parametrize(
    ("limit", "frames", "pieces"),
    [
        (10, 25, [(0, 10, 10), (10, 10, 10), (20, 5, 4)]),
        (12, 25, [(0, 12, 12), (12, 13, 12)]),
        (25, 25, [(0, 25, 24)]),
        (24, 25, [(0, 25, 24)]),
        (5, 10, [(0, 5, 5), (5, 5, 4)]),
    ],
)
def test_long_videos_become_pieces_with_the_flow_across_each_cut(tmp_path, decoder, limit, frames, pieces):
    clip = video(tmp_path / "clip.mp4", frames)
    whole = dict(process_video(row(clip), settings(), decoder).members)
    done = process_video(row(clip), settings(max_sample_frames=limit), decoder)
    assert [(p["first"], p["frames"], p["flows"]) for p in done.record["pieces"]] == pieces
    assert (done.record["frames"], done.record["flows"]) == (frames, frames - 1)
    for suffix in ("rgb.arrow", "flow.arrow"):
        cut = [ArrowFile(data) for name, data in done.members if name.endswith(suffix)]
        rows = [bytes(image) for file in cut for i in range(len(file)) for image in file.row(i)]
        file = ArrowFile(whole[f"a%2Fclip.{suffix}"])
        assert rows == [bytes(image) for i in range(len(file)) for image in file.row(i)]
    if len(pieces) > 1:
        assert [name for name, _ in done.members][:4] == [
            "a%2Fclip~0001.json",
            "a%2Fclip~0001.rgb.arrow",
            "a%2Fclip~0001.flow.arrow",
            "a%2Fclip~0002.json",
        ]
        assert [json.loads(d)["piece"] for n, d in done.members if n.endswith("json")] == [*range(1, len(pieces) + 1)]


@pytest.mark.quick
def test_range_of_a_video(clip, decoder):
    done = process_video(row(clip, start_s=0.2, end_s=0.6), settings(max_sample_frames=6), decoder)
    assert (done.record["frames"], done.record["flows"]) == (10, 9)
    whole = ArrowFile(dict(process_video(row(clip), settings(), decoder).members)["a%2Fclip.rgb.arrow"])
    piece = ArrowFile(dict(done.members)["a%2Fclip~0001.rgb.arrow"])
    assert [bytes(piece.row(i)[0]) for i in range(6)] == [bytes(whole.row(i)[0]) for i in range(5, 11)]


@pytest.mark.quick
@pytest.mark.parametrize("choice", ["auto", "pyav"])
def test_a_range_that_begins_at_a_frame_keeps_it(tmp_path, decoder, choice):
    clip = video(tmp_path / "clip.mp4", 25)
    for number in range(1, 24):
        for fields, frames in [({"start_s": number / 25}, 25 - number), ({"end_s": number / 25}, number)]:
            done = process_video(row(clip, **fields), settings(flow="none", decoder=choice, min_frames=1), decoder)
            assert (done.record["frames"], number) == (frames, number)


@pytest.mark.quick
def test_pyav_alone(tmp_path, decoder):
    clip = video(tmp_path / "clip.mp4", 25)
    for limit in (1000, 10):
        done = process_video(row(clip), settings(decoder="pyav", max_sample_frames=limit), decoder)
        assert (done.record["decoder"], done.record["frames"], done.record["flows"]) == ("pyav", 25, 24)
        assert {json.loads(data)["decoder"] for name, data in done.members if name.endswith("json")} == {"pyav"}


HIDDEN = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "decord":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
"""


@pytest.mark.quick
def test_without_decord(clip, monkeypatch):
    """In a child that cannot import it."""
    monkeypatch.setattr(
        child_module, "_START", child_module._START.replace("from tasks", f"exec({HIDDEN!r}); from tasks")
    )
    with DecoderProcess() as child:
        for limit in (1000, 10):
            record = process_video(row(clip), settings(max_sample_frames=limit), child).record
            assert (record["status"], record["decoder"], record["frames"]) == ("ok", "pyav", 25)
        with pytest.raises(VideoError, match="decord"):
            child.decode(clip, decoder="decord")


@pytest.mark.quick
def test_without_flow(clip, decoder):
    done = process_video(row(clip), settings(flow="none"), decoder)
    assert [name for name, _ in done.members] == ["a%2Fclip.json", "a%2Fclip.rgb.arrow"]
    assert (done.record["frames"], done.record["flows"]) == (25, 0)


@pytest.mark.quick
@pytest.mark.parametrize(
    "change",
    [
        {"short_side": 40},
        {"flow_bound": 10.0},
        {"rgb_quality": 60},
        {"rgb": "h264"},
        {"flow_quality": 60},
        {"tvl1": TVL1(warps=2, scales=2, inner_iterations=5, outer_iterations=1)},
    ],
)
def test_every_setting_changes_the_bytes(clip, decoder, change):
    assert (
        process_video(row(clip), settings(**change), decoder).members
        != process_video(row(clip), settings(), decoder).members
    )


@pytest.mark.quick
def test_broken_videos_are_failed_records(tmp_path, decoder):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mp4").write_text("<html>")
    short = video(tmp_path / "short.mp4", 3)
    for uri, kind, fields in [
        (tmp_path / "none.mp4", "missing", {}),
        (tmp_path / "empty.mp4", "empty", {}),
        (tmp_path / "page.mp4", "unreadable", {}),
        (short, "too_short", {}),
        (short, "too_short", {"start_s": 9.0}),
    ]:
        done = process_video(row(uri, **fields), settings(min_frames=4), decoder)
        assert (done.record["status"], done.record["kind"]) == ("failed", kind)
        assert done.record["message"]
        assert (done.record["frames"], done.record["flows"], done.record["pieces"]) == (0, 0, [])
        assert done.members == []
    assert process_video(row(short), settings(min_frames=3), decoder).record["status"] == "ok"


@pytest.mark.quick
@pytest.mark.parametrize(("rgb", "most", "width"), [("jpeg", "65,500", 4800), ("h264", "16,384", 1200)])
def test_frames_too_wide_to_be_stored_are_a_failed_record(tmp_path, decoder, rgb, most, width):
    write_mp4(tmp_path / "strip.mp4", np.zeros((3, 2, width, 3), np.uint8), 10)
    done = process_video(row(tmp_path / "strip.mp4"), settings(short_side=32, rgb=rgb), decoder)
    assert done.record["kind"] == "unreadable"
    assert f"at most {most} a side" in done.record["message"]


@pytest.mark.quick
def test_frames_as_h264(clip, decoder):
    done = process_video(row(clip), settings(rgb="h264", max_sample_frames=10), decoder)
    assert [name for name, _ in done.members if "rgb" in name] == [
        f"a%2Fclip~000{piece}.rgb.mp4" for piece in (1, 2, 3)
    ]
    assert done.members == process_video(row(clip), settings(rgb="h264", max_sample_frames=10), decoder).members
    files = [data for name, data in done.members if name.endswith("mp4")]
    lengths = [piece["frames"] for piece in done.record["pieces"]]
    stored = np.concatenate(
        [read_rgb(data, range(n), "h264", height=32, width=43) for data, n in zip(files, lengths, strict=True)]
    )
    images = decode(clip, short_side=32).images
    assert np.abs(stored.astype(int) - images).mean() < 3
    coarse = process_video(row(clip), settings(rgb="h264", rgb_crf=40, max_sample_frames=10), decoder)
    assert len(dict(coarse.members)["a%2Fclip~0001.rgb.mp4"]) < len(files[0])


@pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"no real clips at {VIDEOS} (MAREY_TEST_VIDEOS)")
def test_every_odd_file_is_one_record_of_re_encoded_frames(decoder):
    records = []
    for path in sorted(p for p in (VIDEOS / "odd_files").rglob("*") if p.is_file()):
        done = process_video(row(path), settings(flow="none", rgb="h264"), decoder)
        assert bool(done.members) == (done.record["status"] == "ok")
        records.append(done.record)
    assert Counter(record["kind"] for record in records) == {
        "": 43,
        "unreadable": 7,
        "no_video": 7,
        "too_short": 7,
        "empty": 2,
        "truncated": 2,
    }
    assert all(record["message"] for record in records if record["status"] == "failed")
