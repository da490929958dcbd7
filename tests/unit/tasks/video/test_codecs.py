import ctypes
import io

import av
import cv2
import numpy as np
import pytest

from tasks.video.codecs import decode_gray, decode_rgb, jpeg_gray, jpeg_rgb, read_mp4, write_mp4

pytestmark = pytest.mark.quick


def moving(frames=12, height=48, width=64):
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (height, width + frames, 3), dtype=np.uint8), (0, 0), 3)
    return np.stack([texture[:, t : t + width] for t in range(frames)])


def read(path):
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_jpeg_keeps_colour_order_and_values():
    image = np.zeros((1, 32, 48, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 30
    back = decode_rgb(jpeg_rgb(image, 95)[0])
    assert back.shape == (32, 48, 3)
    assert np.abs(back.astype(int) - image[0]).max() <= 3
    gray = np.linspace(0, 255, 32 * 48).reshape(1, 32, 48).astype(np.uint8)
    assert np.abs(decode_gray(jpeg_gray(gray, 95)[0]).astype(int) - gray[0]).max() <= 8


def test_what_is_no_jpeg_is_an_error():
    with pytest.raises(ValueError, match="not a JPEG"):
        decode_rgb(b"not a picture")


def test_mp4_holds_every_frame_and_is_deterministic(tmp_path):
    frames = moving()
    write_mp4(tmp_path / "a.mp4", frames, 25)
    write_mp4(tmp_path / "b.mp4", frames, 25)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    back = read(tmp_path / "a.mp4")
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 6


def test_what_memory_held_before_does_not_matter():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 32 * 48 * 3).reshape(32, 48, 3)
    frames = np.stack([ramp + 5 * t for t in range(30)]).astype(np.uint8)
    files = set()
    for _ in range(60):
        blocks = [(libc.malloc(int(size)), int(size)) for size in random.integers(500, 120_000, 400)]
        for block, size in blocks:
            libc.memset(block, int(random.integers(0, 256)), size)
        for block, _ in blocks:
            libc.free(block)
        files.add(in_memory(frames, crf=10))
    assert len(files) == 1


def test_intra_only_with_constant_quantiser_leaves_no_trace_of_the_order(tmp_path):
    frames = moving()
    write_mp4(tmp_path / "a.mp4", frames, 25, qp=20, keyframe_every=1)
    write_mp4(tmp_path / "b.mp4", frames[::-1], 25, qp=20, keyframe_every=1)
    assert np.array_equal(read(tmp_path / "a.mp4"), read(tmp_path / "b.mp4")[::-1])


def in_memory(frames, **settings):
    file = io.BytesIO()
    write_mp4(file, frames, 30000 / 1001, **settings)
    return file.getvalue()


@pytest.mark.parametrize("keyframe_every", [1, 5, 12, 250])
def test_any_frames_of_an_mp4(tmp_path, keyframe_every):
    data = in_memory(moving(60), keyframe_every=keyframe_every)
    (tmp_path / "a.mp4").write_bytes(data)
    expected = read(tmp_path / "a.mp4")
    for indices in ([0], [59], [11, 12, 13], [3, 40, 41, 58], [30, 30], range(60)):
        assert np.array_equal(read_mp4(memoryview(data), indices), expected[list(indices)])


def test_what_lies_before_a_key_frame_is_not_read():
    data = in_memory(moving(60))
    with av.open(io.BytesIO(data)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    damaged = bytearray(data)
    for at, size in packets[:24]:
        damaged[at : at + size] = bytes(size)
    assert np.array_equal(read_mp4(bytes(damaged), [30, 59]), read_mp4(data, [30, 59]))


def test_what_is_not_in_an_mp4_is_an_error():
    data = in_memory(moving(6))
    with pytest.raises(ValueError, match="no frame 6"):
        read_mp4(data, [2, 6])
    with pytest.raises(ValueError, match="mp4"):
        read_mp4(b"nothing of the kind", [0])
