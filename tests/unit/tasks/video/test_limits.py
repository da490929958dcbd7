"""What claims more than a machine can hold is refused from its header: nothing of it is decoded."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from numbered_videos import join, numbers, write

from tasks.video import VideoError, decode, limits
from tasks.video.codecs import jpeg_rgb, write_mp4
from tasks.video.stack import FrameStack

pytestmark = pytest.mark.quick
EITHER = pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])


@pytest.fixture
def nothing_decoded(monkeypatch):
    """Fail where a frame or an image is decoded."""

    def refuse(*_, **__):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(FrameStack, "append", refuse)
    monkeypatch.setattr("tasks.video.pyav.read", refuse)
    monkeypatch.setattr("tasks.video.image_folder.decode_rgb", refuse)


def failure(path, **arguments):
    with pytest.raises(VideoError) as error:
        decode(str(path), **arguments)
    return error.value.kind, error.value.message


def huge_jpeg():
    data = bytearray(jpeg_rgb(np.zeros((1, 16, 16, 3), np.uint8))[0])
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    return bytes(data)


def huge_png():
    data = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    header = b"IHDR" + struct.pack(">II", 20_000, 5_000) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(("name", "image"), [("1.jpg", huge_jpeg()), ("1.png", huge_png()), ("1.jpg", huge_png())])
def test_images_that_claim_to_be_huge(tmp_path, nothing_decoded, name, image):
    (tmp_path / name).write_bytes(image)
    assert len(image) < 2000
    kind, message = failure(tmp_path)
    assert kind == "unreadable"
    assert "frames of" in message


@pytest.mark.parametrize("ending", [".webp", ".bmp", ".tiff"])
def test_only_jpeg_and_png_are_read_whatever_the_name(tmp_path, nothing_decoded, ending):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (tmp_path / "1.jpg").write_bytes(cv2.imencode(ending, image)[1].tobytes() + b"\xff\xd9")
    assert failure(tmp_path) == ("unreadable", "1.jpg cannot be decoded")


@EITHER
@pytest.mark.parametrize("frames", [2, 70])
def test_narrow_videos_that_grow_by_resizing(tmp_path, nothing_decoded, decoder, frames):
    write_mp4(tmp_path / "a.mp4", np.zeros((frames, 1024, 2, 3), np.uint8), 25)
    kind, message = failure(tmp_path / "a.mp4", short_side=128, longest_side=65_500, decoder=decoder)
    assert kind == "unreadable"
    assert "128 x 65536 pixels after resizing are too many" in message
    kind, message = failure(tmp_path / "a.mp4", short_side=512, decoder=decoder)
    assert (kind, "512 x 262144" in message) == ("unreadable", True)


@EITHER
def test_requests_for_more_than_a_machine_holds(tmp_path, nothing_decoded, decoder):
    path = write(tmp_path / "a.mp4", "libx264")
    kind, message = failure(path, short_side=6000, decoder=decoder)
    assert kind == "unreadable"
    assert "60 frames of 8000 x 6000 pixels after resizing take 8.6 GB at once, of at most 8.0" in message
    assert "32000 x 24000" in failure(path, short_side=24_000, count=1, decoder=decoder)[1]


def test_folders_of_images_that_grow_by_resizing(tmp_path):
    for number, data in enumerate(jpeg_rgb(np.zeros((3, 1024, 2, 3), np.uint8)), 1):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    assert "128 x 65536" in failure(tmp_path, short_side=128, longest_side=65_500)[1]


def claim_frames(path, count):
    """Let the tables of an mp4 name so many frames of one byte."""
    data = bytearray(path.read_bytes())
    for table, place, values in ((b"stsz", 8, (1, count)), (b"stts", 12, (count,)), (b"stsc", 16, (count,))):
        at = data.index(table) + place
        data[at : at + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)
    path.write_bytes(data)


@EITHER
def test_tables_that_claim_a_billion_frames(tmp_path, nothing_decoded, monkeypatch, decoder):
    """FFmpeg would take 24 GB for them, before it gives the number away."""
    path = write(tmp_path / "a.mp4", "libx264", bf="0")
    claim_frames(path, 10**9)
    monkeypatch.setattr("tasks.video.probe.open_file", lambda _: pytest.fail("FFmpeg has opened it"))
    assert failure(path, decoder=decoder) == (
        "unreadable",
        f"1,000,000,000 frames are promised in {path.stat().st_size:,} bytes",
    )


def test_fragments_that_claim_a_billion_frames(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", "libx264", bf="0")
    fragment = tmp_path / "b.mp4"
    join([path], fragment, movflags="frag_keyframe+empty_moov")
    assert numbers(decode(str(fragment)).images) == list(range(60))
    data = bytearray(fragment.read_bytes())
    at = data.index(b"trun") + 8
    data[at : at + 4] = struct.pack(">I", 10**9)
    fragment.write_bytes(data)
    monkeypatch.setattr("tasks.video.probe.open_file", lambda _: pytest.fail("FFmpeg has opened it"))
    assert "frames are promised" in failure(fragment)[1]


def test_ordinary_sizes_pass():
    limits.refuse_frame(4320, 7680)
    limits.refuse_frame(4096, 8192)
    limits.refuse_request(1080, 1920, 65_500, 1002)
    limits.refuse_request(256, 512, 16_384, 1002)
