"""Files as recorders, segmenters and editors leave them: complete ones are read, mixed ones refused."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from numbered_videos import join, numbers, write

from tasks.video import VideoError, decode

pytestmark = pytest.mark.quick
EITHER = pytest.mark.parametrize("decoder", ["auto", "pyav"])


def failure(path, **arguments):
    with pytest.raises(VideoError) as error:
        decode(str(path), **arguments)
    return error.value.kind, error.value.message


@EITHER
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.webm", "libvpx-vp9"),
        ("a.mp4", "libx264"),
        ("a.ts", "libx264"),
        ("a.WEBM", "libvpx"),
    ],
)
def test_pieces_of_a_segmented_video_are_whole(tmp_path, decoder, name, codec):
    """They begin late, and in Matroska the length that they declare is the time of their end."""
    whole = write(tmp_path / ("a.mp4" if codec == "libx264" else "a.webm"), codec)
    piece = join([whole], tmp_path / f"piece{name.lower()}", 40.0).rename(tmp_path / f"piece1{name}")
    frames = decode(str(piece), decoder=decoder)
    assert numbers(frames.images) == list(range(60))
    assert frames.timestamps[0] == 0


@EITHER
@pytest.mark.parametrize("late_s", [0.0, 40.0])
def test_a_piece_that_was_cut_is_truncated(tmp_path, decoder, late_s):
    piece = join([write(tmp_path / "a.mkv", "mpeg4", g="1")], tmp_path / "piece.mkv", late_s)
    piece.write_bytes(piece.read_bytes()[: piece.stat().st_size * 6 // 10])
    assert failure(piece, decoder=decoder)[0] == "truncated"


def rewrite_avi(path, empty, index=True):
    """Leave chunks of an AVI file without data, as a recorder does for a frame that it dropped or that is the same."""
    data = path.read_bytes()
    at = data.index(b"movi")
    end = at + struct.unpack("<I", data[at - 4 : at])[0]
    flags = [
        data[end + 12 + 16 * n : end + 16 + 16 * n]
        for n in range(struct.unpack("<I", data[end + 4 : end + 8])[0] // 16)
    ]
    movi, entries, place = b"movi", b"", at + 4
    for number, flag in enumerate(flags):
        size = struct.unpack("<I", data[place + 4 : place + 8])[0]
        content = b"" if number in empty else data[place + 8 : place + 8 + size]
        entries += data[place : place + 4] + flag + struct.pack("<II", len(movi), len(content))
        movi += data[place : place + 4] + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        place += 8 + size + size % 2
    body = data[8 : at - 8] + b"LIST" + struct.pack("<I", len(movi)) + movi
    body += b"idx1" + struct.pack("<I", len(entries)) + entries if index else b""
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


@EITHER
@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_avi_with_dropped_frames(tmp_path, decoder, codec):
    """FFmpeg writes chunks without data where time stamps have a gap."""
    times = [t for t in range(60) if t not in (20, 21, 22, 40)]
    path = write(tmp_path / "a.avi", codec, times=times)
    frames = decode(str(path), decoder=decoder)
    assert numbers(frames.images) == list(range(56))
    np.testing.assert_allclose(frames.timestamps, np.array(times) / 25)
    assert numbers(decode(str(path), start_s=23 / 25, decoder=decoder).images) == list(range(20, 56))


@EITHER
def test_avi_without_its_last_frames(tmp_path, decoder):
    """An index says that they were dropped; without one the file may have been cut."""
    path = write(tmp_path / "a.avi", "mjpeg")
    rewrite_avi(path, {0, 10, *range(40, 60)})
    assert numbers(decode(str(path), decoder=decoder).images) == [*range(1, 10), *range(11, 40)]
    rewrite_avi(path, set(), index=False)
    assert failure(path, decoder=decoder)[0] == "truncated"


@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libvpx-vp9"), ("a.webm", "libvpx"), ("a.avi", "mjpeg")])
def test_a_picture_that_changes_its_size_is_refused(tmp_path, decoder, name, codec):
    small = write(tmp_path / name, codec)
    large = write(tmp_path / f"large_{name}", codec, size=(72, 96))
    path = join([small, large], tmp_path / f"both_{name}")
    for arguments in ({}, {"first": 50, "count": 20}, {"start_s": 3.0}):
        kind, message = failure(path, decoder=decoder, **arguments)
        assert kind == "unreadable"
        assert "changes its size from 64 x 48 to 96 x 72 pixels" in message
    assert numbers(decode(str(path), end_s=2.0, decoder=decoder).images) == list(range(50))


@EITHER
def test_a_joined_recording_that_changes_its_size_is_refused(tmp_path, decoder):
    small = write(tmp_path / "small.ts", "mpeg2video")
    large = write(tmp_path / "large.ts", "mpeg2video", size=(72, 96))
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    assert "from 64 x 48 to 96 x 72" in failure(path, decoder=decoder)[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nclip.ts\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nclip.ts\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile clip.ts\n"),
        ("list.avi", "ffconcat version 1.0\nfile clip.ts\n"),
        ("notes.txt", "frame after frame\n" * 500),
    ],
)
def test_playlists_and_texts_are_not_videos(tmp_path, name, text):
    write(tmp_path / "clip.ts", "mpeg2video", Fraction(25))
    (tmp_path / name).write_text(text)
    assert failure(tmp_path / name)[0] == "unreadable"
