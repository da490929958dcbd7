import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from paths import ROOT, VIDEOS

from tasks.video import VideoError, decode
from tasks.video.codecs import write_mp4
from tasks.video.stack import FrameStack

ODD = VIDEOS / "odd_files"
pytestmark = pytest.mark.quick
odd = pytest.mark.skipif(not ODD.is_dir(), reason=f"no real clips at {ODD} (MAREY_TEST_VIDEOS)")
BOTH = pytest.mark.parametrize("decoder", ["decord", "pyav"])


def numbered(frames=60, height=48, width=64):
    """Frame t shows t as 8 bits in a row of squares, so that each frame can be identified."""
    images = np.full((frames, height, width, 3), 60, np.uint8)
    for t in range(frames):
        for bit in range(8):
            images[t, 8:40, bit * 8 : bit * 8 + 8] = (230, 30, 30) if t >> bit & 1 else (20, 20, 20)
    return images


def numbers(images):
    width = images.shape[2] / 64
    centres = [int((bit * 8 + 4) * width) for bit in range(8)]
    return [sum((image[image.shape[0] // 2, x, 0] > 120) << bit for bit, x in enumerate(centres)) for image in images]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_mp4(path, numbered(), 20, keyframe_every=25)
    return str(path)


@BOTH
def test_whole_video_in_order_rgb(clip, decoder):
    frames = decode(clip, decoder=decoder)
    assert frames.images.shape == (60, 48, 64, 3)
    assert numbers(frames.images) == list(range(60))
    assert frames.images[1, 24, 4, 0] > 200 > frames.images[1, 24, 4, 2]  # red is the first channel
    assert frames.fps == 20
    assert frames.total == 60
    assert frames.decoder == decoder
    np.testing.assert_allclose(frames.timestamps, np.arange(60) / 20, atol=1e-6)


@BOTH
@pytest.mark.parametrize(("first", "count"), [(0, 1), (7, 20), (24, 3), (26, 1), (55, 5), (55, 50), (59, None)])
def test_exact_range_of_frames(clip, decoder, first, count):
    frames = decode(clip, first=first, count=count, decoder=decoder)
    assert numbers(frames.images) == list(range(60))[first:][:count]


@BOTH
def test_range_of_time_and_frames_within_it(clip, decoder):
    frames = decode(clip, start_s=1.0, end_s=2.0, decoder=decoder)
    assert numbers(frames.images) == list(range(20, 40))
    assert frames.total == 20
    frames = decode(clip, start_s=1.0, end_s=2.0, first=5, count=4, decoder=decoder)
    assert numbers(frames.images) == [25, 26, 27, 28]
    assert numbers(decode(clip, start_s=2.9, end_s=99, decoder=decoder).images) == [58, 59]


@BOTH
def test_range_behind_the_end_is_too_short(clip, decoder):
    with pytest.raises(VideoError, match=r"ends at 3\.00 s") as error:
        decode(clip, start_s=5, decoder=decoder)
    assert error.value.kind == "too_short"


@pytest.mark.parametrize(("short_side", "shape"), [(24, (24, 32)), (96, (96, 128)), (50, (50, 67))])
def test_resize_keeps_proportions(clip, short_side, shape):
    frames = decode(clip, short_side=short_side)
    assert frames.images.shape[1:3] == shape
    assert numbers(frames.images) == list(range(60))


def test_stack_of_a_stream_that_changes_its_size():
    with FrameStack(20) as stack:
        stack.append(np.full((40, 60, 3), 7, np.uint8))
        stack.append(np.full((80, 90, 3), 9, np.uint8))
        images = stack.images()
    assert images.shape == (2, 20, 30, 3)
    assert images[:, 0, 0, 0].tolist() == [7, 9]


def test_fsspec_address(clip):
    import fsspec

    fsspec.filesystem("memory").pipe("/there/clip.mp4", Path(clip).read_bytes())
    assert len(decode("memory://there/clip.mp4", count=3).images) == 3
    with pytest.raises(VideoError) as error:
        decode("memory://there/other.mp4")
    assert error.value.kind == "missing"


def kind_of(path, **arguments):
    with pytest.raises(VideoError) as error:
        decode(str(path), **arguments)
    return error.value.kind


def test_kinds(tmp_path, clip):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    with av.open(tmp_path / "sound.mp4", "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert kind_of(tmp_path / "none.mp4") == "missing"
    assert kind_of(tmp_path / "page.mp4" / "x.mp4") == "missing"
    assert kind_of(tmp_path / "empty.mp4") == "empty"
    assert kind_of(tmp_path / "page.mp4") == "unreadable"
    assert kind_of(tmp_path / "folder.mp4") == "no_video"
    assert kind_of(tmp_path / "pipe.mp4") == "unreadable"
    assert kind_of(tmp_path / "sound.mp4") == "no_video"
    assert kind_of("pipe:0") == "missing"


def test_playlists_are_not_followed(tmp_path, clip):
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:3,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n")
    assert kind_of(tmp_path / "list.m3u8") == "unreadable"


def remux(source, target, shift=0.0, **options):
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.pts -= round(shift / packet.time_base)
                packet.dts -= round(shift / packet.time_base)
                packet.stream = stream
                new.mux(packet)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A video of some size, as mp4, mkv and avi."""
    folder = tmp_path_factory.mktemp("noisy")
    images = np.random.default_rng(0).integers(0, 256, (60, 12, 16, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    write_mp4(folder / "plain.mp4", images, 20)
    remux(folder / "plain.mp4", folder / "whole.mp4", movflags="faststart")
    remux(folder / "plain.mp4", folder / "whole.mkv")
    with av.open(str(folder / "whole.avi"), "w") as file:
        stream = file.add_stream("mpeg4", rate=20)
        stream.height, stream.width, stream.bit_rate = 96, 128, 2_000_000
        for image in images:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    return folder


@pytest.mark.parametrize("part", [0.4, 0.7, 0.9])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_cut_files_are_truncated(noisy, tmp_path, suffix, part):
    whole, cut = noisy / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    assert len(decode(str(whole)).images) == 60
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    assert kind_of(cut) == "truncated"
    assert kind_of(cut, decoder="pyav") == "truncated"


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_hole_in_the_middle_is_not_filled_in(noisy, tmp_path, suffix):
    data = bytearray((noisy / f"whole.{suffix}").read_bytes())
    data[len(data) // 2 : len(data) * 6 // 10] = bytes(len(data) * 6 // 10 - len(data) // 2)
    (tmp_path / f"hole.{suffix}").write_bytes(data)
    assert kind_of(tmp_path / f"hole.{suffix}") == "truncated"


def test_frames_hidden_by_an_edit_list_are_not_missed(clip, tmp_path):
    """The container counts 60 frames and shows 40: complete."""
    remux(clip, tmp_path / "edited.mp4", shift=1.0, avoid_negative_ts="disabled")
    with av.open(str(tmp_path / "edited.mp4")) as file:
        assert file.streams.video[0].frames == 60
    for decoder in ("auto", "pyav"):
        assert numbers(decode(str(tmp_path / "edited.mp4"), decoder=decoder).images) == list(range(20, 60))


def test_longer_sound_does_not_make_a_video_short(clip, tmp_path):
    with av.open(clip) as old, av.open(tmp_path / "sound.mkv", "w") as new:
        video = new.add_stream_from_template(old.streams.video[0])
        audio = new.add_stream("aac", rate=8000)
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                new.mux(packet)
        for second in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, second * 8000
            new.mux(audio.encode(frame))
        new.mux(audio.encode(None))
    assert len(decode(str(tmp_path / "sound.mkv")).images) == 60


@odd
@pytest.mark.parametrize("name", ["tests_test_data_video_90.mov", "tests_test_data_video_180.mov"])
def test_both_decoders_turn_a_video_upright_alike(name):
    a, b = (decode(str(ODD / "decord" / name), decoder=d).images for d in ("decord", "pyav"))
    assert a.shape == b.shape == ((3, 568, 320, 3) if "90" in name else (3, 320, 568, 3))
    assert np.array_equal(a, b)


@odd
def test_narrow_frames_are_left_to_pyav():
    frames = decode(str(ODD / "derived" / "ps7_tiny_16x16.mp4"))
    assert frames.decoder == "pyav"
    assert frames.images.shape == (109, 16, 16, 3)


@odd
def test_cover_art_is_no_video():
    assert kind_of(ODD / "file-type" / "fixture_fixture-bad-offset.mp3") == "no_video"


def test_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(VideoError("empty", "no bytes")))
    assert (error.kind, error.message, str(error)) == ("empty", "no bytes", "empty: no bytes")


def test_package_gives_functions_and_imports_nothing_heavy():
    code = (
        "import sys, tasks.video, tasks.video.settings;"
        "assert not {'numpy', 'cv2', 'av', 'decord'} & set(sys.modules), sorted(sys.modules);"
        "import tasks.video.decode;"
        "assert callable(tasks.video.decode)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=600)


def test_names_that_look_like_options_or_addresses(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ["-v.mp4", "a:b %05d.mp4", "行動 név.mp4"]:
        shutil.copy(clip, name)
        assert len(decode(name, count=2).images) == 2


def test_bilinear_up_and_area_down():
    from tasks.video.stack import resize

    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert np.array_equal(resize(image, 20, 30), cv2.resize(image, (30, 20), interpolation=cv2.INTER_AREA))
    assert np.array_equal(resize(image, 80, 120), cv2.resize(image, (120, 80), interpolation=cv2.INTER_LINEAR))
    assert resize(image, 40, 60) is image


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((480, 640), (256, 341)),
        ((97, 131), (96, 130)),
        ((64, 9), (21, 3)),
        ((9, 1000), (4, 444)),
        ((300, 40), (7, 31)),
        ((1000, 2), (100, 4)),  # a stream may change its size, and with it the proportions
        ((1000, 30), (100, 1)),
    ],
)
def test_area_average_is_opencvs(before, after):
    from tasks.video.stack import resize

    image = np.random.default_rng(0).integers(0, 256, (*before, 3), dtype=np.uint8)
    image[0, 0], image[-1, -1] = 0, 255
    ours, theirs = resize(image, *after), cv2.resize(image, after[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.002
    assert np.array_equal(resize(np.asfortranarray(image), *after), ours)
    assert (resize(np.full_like(image, 255), *after) == 255).all()
