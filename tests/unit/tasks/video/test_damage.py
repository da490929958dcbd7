"""Damage inside a video that FFmpeg decodes nevertheless: none of it may pass for a frame."""

import av
import numpy as np
import pytest

from tasks.video import VideoError, decode

pytestmark = pytest.mark.quick
ALL = pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])


def write(path, codec, pix_fmt="yuv420p", frames=30):
    """A moving texture in 30 frames, of which every sixth is a key frame."""
    y, x = np.mgrid[:96, :128]
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, pix_fmt
        stream.thread_count = 1
        stream.options = {"g": "6", "threads": "1", **({"bf": "0"} if codec == "libx264" else {})}
        for t in range(frames):
            wave = 128 + 90 * np.sin((x + 3 * t) / 6) * np.cos((y - t) / 5)
            image = np.stack([wave, 255 - wave, np.full_like(wave, 8 * t)], -1).astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def spoil(path, number):
    """Overwrite the second half of an encoded frame."""
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][number]
        at, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[at + size // 2 : at + size] = b"\x55" * (size - size // 2)
    path.write_bytes(data)


@ALL
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ],
)
def test_a_frame_that_is_patched_up_is_none(tmp_path, decoder, name, codec, pix_fmt):
    path = write(tmp_path / name, codec, pix_fmt)
    spoil(path, 13)
    with pytest.raises(VideoError) as error:
        decode(str(path), decoder=decoder)
    assert error.value.kind in ("truncated", "unreadable" if decoder == "decord" else "truncated")
    if decoder == "pyav":
        assert "frame 14" in error.value.message


@ALL
def test_damage_outside_the_range_does_no_harm(tmp_path, decoder):
    path = write(tmp_path / "a.mp4", "libx264")
    whole = decode(str(path)).images
    spoil(path, 20)
    for first, count in [(0, 18), (6, 6)]:
        images = decode(str(path), first=first, count=count, decoder=decoder).images
        assert np.array_equal(images, whole[first : first + count])
    with pytest.raises(VideoError, match="truncated"):
        decode(str(path), first=19, count=4, decoder=decoder)


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_no_frame_is_lost_to_a_wrong_time(tmp_path, decoder):
    """The first frame of the flv claims to be shown after the next two."""
    path = write(tmp_path / "a.flv", "flv")
    whole = decode(str(path), decoder="pyav").images
    data = bytearray(path.read_bytes())
    at = 13
    while data[at] != 9:  # the first tag with video
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    data[at + 4 : at + 7] = (250).to_bytes(3, "big")
    path.write_bytes(data)
    frames = decode(str(path), decoder=decoder)
    assert np.array_equal(frames.images, whole)
    assert (np.diff(frames.timestamps) >= 0).all()
