"""How much a video may use of a machine, whatever it declares."""

import resource
import time

import av
import numpy as np
import pytest
from decoder_children import replace_serving, write_noise

from tasks.video import DecoderProcess, VideoError, conversation
from tasks.video.codecs import write_mp4

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


@pytest.mark.parametrize(
    "does",
    [
        "bytearray(20 << 30)",
        "import os; stack.declare(48, 64, 30); [os.write(stack.descriptor, bytes(1 << 20)) for _ in range(9999)]",
        "[stack.append(__import__('numpy').zeros((480, 640, 3), 'uint8')) for _ in range(999)]",
    ],
)
def test_too_much_memory_fails_one_video_for_good(noise, monkeypatch, does):
    with DecoderProcess(timeout_s=60) as child:
        with monkeypatch.context() as patch:
            replace_serving(patch, does)
            with pytest.raises(VideoError, match=r"more than [\d,]+ MB of memory are needed") as error:
                child.decode(noise, count=30)
        assert error.value.kind == "unreadable"
        assert len(child.decode(noise, count=30).images) == 30


def test_real_decoders_without_memory_fail_for_good_and_without_dying(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write_mp4(path, np.zeros((12, 1080, 1920, 3), np.uint8), 30)
    said = []
    with DecoderProcess(timeout_s=60) as child:
        for megabytes in (2, 8, 12, 16):
            for name, value in (("_WORK_BYTES", megabytes << 20), ("_PIXEL_BYTES", 0), ("_FRAME_BYTES", 0)):
                monkeypatch.setattr(conversation, name, value)
            for decoder in ("auto", "pyav"):
                with pytest.raises(VideoError) as error:
                    child.decode(str(path), decoder=decoder)
                assert error.value.kind in ("unreadable", "truncated"), (megabytes, decoder, error.value)
                said.append(error.value.message)
        monkeypatch.undo()
        assert child.decode(str(path), short_side=100).images.shape == (12, 100, 178, 3)
    assert any("MB of memory are needed" in message for message in said)


def test_limits_count_for_each_video_and_follow_its_size(noise, monkeypatch):
    replace_serving(monkeypatch, "kept.append(bytearray(180 << 20))")
    monkeypatch.setattr(conversation, "_PROBED_PIXELS", 0)
    monkeypatch.setattr(conversation, "_WORK_BYTES", 300 << 20)
    pids, limits = [], []
    with DecoderProcess(timeout_s=60) as child:
        for _ in range(4):
            assert len(child.decode(noise, count=10).images) == 10
            pids.append(child.pid)
            limits.append(resource.prlimit(child.pid, resource.RLIMIT_DATA)[0])
        assert resource.prlimit(child.pid, resource.RLIMIT_FSIZE)[0] == 10 * (3 * 48 * 64 + 8)
        assert resource.prlimit(child.pid, resource.RLIMIT_CORE) == (0, 0)
    assert limits[1] - limits[0] > 150 << 20  # what an earlier video left is not counted again
    assert pids[0] == pids[1] != pids[2] == pids[3]  # but a process that keeps more and more is replaced


def test_a_video_of_8k_is_decoded(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 4320, 7680, "yuvj420p"
        for t in range(2):
            image = np.full((4320, 7680, 3), 100 * t, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    with DecoderProcess(timeout_s=60) as child:
        for decoder in ("decord", "pyav"):
            assert child.decode(str(path), decoder=decoder).images.shape == (2, 4320, 7680, 3)


def test_processor_time_is_limited(noise, monkeypatch):
    replace_serving(monkeypatch, "while True: pass")
    monkeypatch.setattr(conversation, "_THREADS", 0)
    with DecoderProcess(timeout_s=60) as child:
        begin = time.monotonic()
        with pytest.raises(VideoError, match="more processor time") as error:
            child.decode(noise, decoder="pyav")
    assert error.value.kind == "timeout"
    assert time.monotonic() - begin < 30
