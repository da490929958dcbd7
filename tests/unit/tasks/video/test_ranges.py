"""Which frames a range of time holds: the same by both decoders, in every container, as in the whole file."""

from fractions import Fraction
from itertools import chain, pairwise

import numpy as np
import pytest
from numbered_videos import join, numbered, numbers, write

from tasks.video import VideoError, decode
from tasks.video.codecs import jpeg_rgb

pytestmark = pytest.mark.quick
NTSC, CINEMA = Fraction(30000, 1001), Fraction(24)
EITHER = ("auto", "pyav")
IRREGULAR = [0, 1, 2, 5, 6, 7, 15, 16, 40, 41, 42, 43, 60, 61, 75, 76, 77, 78, 99, 100]
CONSTANT = {
    "plain.mp4": ("libx264", Fraction(25), {"bf": "2"}),
    "ntsc.mp4": ("libx264", NTSC, {"bf": "0"}),
    "hevc.mp4": ("libx265", CINEMA, {"x265-params": "log-level=none:keyint=12"}),
    "plain.mov": ("mpeg4", NTSC, {}),
    "plain.mkv": ("libx264", NTSC, {"bf": "2"}),
    "plain.webm": ("libvpx", Fraction(60), {}),
    "vp9.webm": ("libvpx-vp9", NTSC, {}),
    "plain.avi": ("mpeg4", Fraction(25), {}),
    "b.avi": ("mpeg4", NTSC, {"bf": "2"}),
    "h264.avi": ("libx264", NTSC, {"bf": "2"}),
    "plain.ts": ("libx264", NTSC, {"bf": "2"}),
    "plain.mpg": ("mpeg2video", NTSC, {"bf": "2"}),
    "mpeg1.mpg": ("mpeg1video", Fraction(25), {"bf": "2"}),
    "plain.flv": ("flv", NTSC, {}),
    "plain.wmv": ("wmv2", Fraction(12), {}),
    "plain.gif": ("gif", Fraction(25), {}),
}
LATE = {
    "late.ts": ("libx264", NTSC, 100),
    "tomorrow.ts": ("libx264", Fraction(50), 80_000),  # float32 holds 128 steps per second there
    "late.mkv": ("libx264", NTSC, 7),
    "late.mp4": ("libx264", NTSC, 7),
}
VARIABLE = {"a.mp4": "libx264", "a.mkv": "mpeg4", "a.ts": "libx264", "a.avi": "mpeg4", "a.gif": "gif", "a.flv": "flv"}


def shown(path, **arguments):
    return numbers(decode(str(path), **arguments).images)


def check_ranges(path, times, frames, decoders=EITHER, every=13):
    """Ranges that begin or end at a frame, as annotation tools write it, and ranges that follow one another."""
    for decoder in decoders:
        whole = decode(str(path), decoder=decoder)
        assert numbers(whole.images) == frames
        np.testing.assert_allclose(whole.timestamps, times, atol=0.0051)  # gif: hundredths
        for number in [1, 2, *range(3, len(times), every), len(times) - 1]:
            after = decode(str(path), start_s=round(times[number], 3), decoder=decoder)
            assert numbers(after.images) == frames[number:] == shown(path, start_s=times[number], decoder=decoder)
            np.testing.assert_allclose(after.timestamps, whole.timestamps[number:], atol=1e-6)
            assert shown(path, end_s=times[number], decoder=decoder) == frames[:number]
    bounds = [0.0, 0.2, times[len(times) // 3], 0.031 + times[len(times) // 2], 1e6]
    pieces = [shown(path, start_s=a, end_s=b, decoder=d) for d in decoders for a, b in pairwise(bounds)]
    assert list(chain(*pieces)) == frames * len(decoders)


@pytest.mark.parametrize("name", CONSTANT)
def test_constant_rate(tmp_path, name):
    codec, rate, options = CONSTANT[name]
    path = write(tmp_path / name, codec, rate, **options)
    check_ranges(path, [float(k / rate) for k in range(60)], list(range(60)))


@pytest.mark.parametrize("name", LATE)
def test_files_that_begin_late(tmp_path, name):
    codec, rate, late_s = LATE[name]
    path = write(tmp_path / name, codec, rate, late_s=Fraction(late_s), bf="2")
    check_ranges(path, [float(k / rate) for k in range(60)], list(range(60)))


@pytest.mark.parametrize("name", VARIABLE)
def test_variable_rate_goes_by_time_stamps(tmp_path, name):
    path = write(tmp_path / name, VARIABLE[name], times=IRREGULAR)
    check_ranges(path, [t / 25 for t in IRREGULAR], list(range(len(IRREGULAR))), every=3)
    if name != "a.gif":
        assert shown(path, start_s=8 / 25, end_s=39 / 25) == [6, 7]  # between frames


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("bf", ["0", "2"])
def test_either_decoder_on_its_own(tmp_path, decoder, bf):
    pytest.importorskip("decord", reason="no decord wheel for this platform")
    path = write(tmp_path / "a.mp4", "libx264", bf=bf)
    check_ranges(path, [k / 25 for k in range(60)], list(range(60)), (decoder,))


def test_decord_never_gives_other_frames(tmp_path):
    """In some of these it finds other frames after a seek: that is an error, and not another video."""
    pytest.importorskip("decord", reason="no decord wheel for this platform")
    for name in ("hevc.mp4", "plain.ts", "plain.mpg", "plain.wmv", "b.avi"):
        codec, rate, options = CONSTANT[name]
        path = write(tmp_path / name, codec, rate, **options)
        for first in (0, 5, 29, 58):
            try:
                assert shown(path, first=first, count=2, decoder="decord") == [first, first + 1]
            except VideoError as error:
                assert error.kind == "unreadable"  # noqa: PT017
            assert shown(path, first=first, count=2) == [first, first + 1]


def test_folders_of_images(tmp_path):
    for number, data in enumerate(jpeg_rgb(numbered(24)), 1):
        (tmp_path / f"{number:05d}.jpg").write_bytes(data)
    check_ranges(tmp_path, [k / 12 for k in range(24)], list(range(24)))


def test_frames_hidden_by_an_edit_list_stay_hidden(tmp_path):
    """20 frames before the edit, and what comes after its end."""
    path = join([write(tmp_path / "a.mp4", "libx264", bf="0")], tmp_path / "b.mp4", -0.8, avoid_negative_ts="disabled")
    check_ranges(path, [k / 25 for k in range(40)], list(range(20, 60)))
    data = path.read_bytes()
    at = data.index(b"elst") + 12
    assert int.from_bytes(data[at : at + 4], "big") == 1600  # ms
    path.write_bytes(data[:at] + (800).to_bytes(4, "big") + data[at + 4 :])
    check_ranges(path, [k / 25 for k in range(20)], list(range(20, 40)))


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.mpg", "mpeg2video"), ("a.ts", "mpeg2video")])
def test_recordings_joined_byte_by_byte(tmp_path, name, codec):
    """Their clock begins again; time goes on."""
    one, other = (write(tmp_path / f"{n}{name}", codec, late_s=Fraction(n), bf="2") for n in (0, 9))
    for parts in ((one, one), (other, one)):
        path = tmp_path / f"joined{name}"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        frames = numbers(decode(str(path)).images)
        assert frames[:58] == list(range(58))
        assert frames[-58:] == list(range(2, 60))
        check_ranges(path, [k / 25 for k in range(len(frames))], frames, every=40)


def test_pieces_of_a_long_video_are_the_whole(tmp_path):
    """PyAV seeks to each piece where the file has an index."""
    for name in ("hevc.mp4", "plain.mkv", "plain.webm", "b.avi", "h264.avi", "plain.mpg", "plain.wmv"):
        codec, rate, options = CONSTANT[name]
        path = write(tmp_path / name, codec, rate, **options)
        for decoder in EITHER:
            pieces = [shown(path, first=first, count=13, decoder=decoder) for first in range(0, 60, 13)]
            assert list(chain(*pieces)) == list(range(60)), name
