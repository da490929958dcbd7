"""What the parent opens and fetches for the decoding process."""

import os
import socket
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from decoder_children import write_noise

from tasks.video import DecoderProcess, VideoError, decode
from tasks.video.codecs import jpeg_rgb

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


LISTS = {
    "HLS": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{noise}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{noise}'\n",
    "DASH": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{noise}</BaseURL></MPD>\n',
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.mkv"])
def test_a_list_of_other_files_is_no_video(noise, tmp_path, kind, name):
    path = tmp_path / name
    path.write_text(LISTS[kind].format(noise=noise))
    with pytest.raises(VideoError, match=f"{kind}.* names other files: give those") as error:
        decode(str(path))
    assert error.value.kind == "unreadable"


def test_the_name_of_a_video_is_no_pattern(noise, tmp_path):
    for number in range(3):
        (tmp_path / f"a{number}.mp4").write_bytes(Path(noise).read_bytes())
    for name in (
        "a%d.mp4",
        "a[0-2].mp4",
        "a*.mp4",
        "a%03d.jpg",
        "concat:a0.mp4|a1.mp4",
        "subfile,,start,0,end,9,,:a0.mp4",
    ):
        path = tmp_path / name
        path.write_bytes(Path(noise).read_bytes())
        with DecoderProcess() as child:
            for frames in (child.decode(str(path)), child.decode(str(path), decoder="pyav"), decode(str(path))):
                assert len(frames.images) == 30
        path.unlink()


def test_the_parent_fetches_a_folder_of_images_for_the_child():
    memory = fsspec.filesystem("memory")
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.full((12, 24, 32, 3), 20, np.uint8)
    for number, data in enumerate(jpeg_rgb(images), 1):
        memory.pipe(f"/sandbox/148092/{number:05d}.jpg", data)
    memory.pipe("/sandbox/bad/00001.jpg", b"<html>")
    with DecoderProcess() as child:
        frames = child.decode("memory://sandbox/148092", first=2, count=4)
        assert np.round(frames.images.mean((1, 2, 3)) / 20).tolist() == [2, 3, 4, 5]
        with pytest.raises(VideoError, match=r"00001\.jpg cannot be decoded"):
            child.decode("memory://sandbox/bad")
    memory.rm("/sandbox", recursive=True)


@pytest.mark.parametrize("number", [1, 70])
def test_a_folder_of_other_things_than_images_stops_nobody(tmp_path, monkeypatch, number):
    for index, data in enumerate(jpeg_rgb(np.zeros((130, 24, 32, 3), np.uint8)), 1):
        (tmp_path / f"{index}.jpg").write_bytes(data)
    with DecoderProcess(timeout_s=20) as child:
        assert len(child.decode(str(tmp_path)).images) == 130
        (tmp_path / f"{number}.jpg").unlink()
        os.mkfifo(tmp_path / f"{number}.jpg")
        with pytest.raises(VideoError, match=f"{number}.jpg is not a regular file") as error:
            child.decode(str(tmp_path))
        assert error.value.kind == "unreadable"
        assert len(child.decode(str(tmp_path), first=80).images) == 50
        (tmp_path / f"{number}.jpg").unlink()
        monkeypatch.setattr("tasks.video.image_folder._MOST_BYTES", 1000)
        (tmp_path / f"{number}.jpg").write_bytes(bytes(1001))
        with pytest.raises(VideoError, match=f"{number}.jpg has more than 0 MB"):
            child.decode(str(tmp_path))


def test_a_server_that_never_answers_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as server, DecoderProcess(timeout_s=1) as child:
        begin = time.monotonic()
        with pytest.raises(VideoError, match="not fetched within 1 s") as error:
            child.decode(f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4")
        assert error.value.kind == "timeout"
        assert time.monotonic() - begin < 20


def test_a_child_that_is_dropped_leaves_no_descriptor(noise):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        DecoderProcess().decode(noise, count=1)
    assert len(os.listdir("/proc/self/fd")) <= before + 1
