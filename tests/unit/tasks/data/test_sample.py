import numpy as np
import pytest

from tasks.data.arrow_file import ArrowFile
from tasks.data.sample import (
    decode_sample,
    read_rgb,
    sample_key,
    write_facts,
    write_flow,
    write_rgb,
    write_rgb_h264,
)
from tasks.errors import UserError
from tasks.video.codecs import jpeg_gray, jpeg_rgb

pytestmark = pytest.mark.quick


def gradient(frames, *shape):
    base = np.linspace(0, 200, int(np.prod(shape))).reshape(shape)
    return np.stack([base + 5 * t for t in range(frames)]).astype(np.uint8)


@pytest.fixture
def rgb():
    return write_rgb(jpeg_rgb(gradient(6, 32, 48, 3), 90), height=32, width=48, quality=90)


@pytest.fixture
def flow():
    x, y = gradient(5, 32, 48), 255 - gradient(5, 32, 48)
    return write_flow(jpeg_gray(x, 95), jpeg_gray(y, 95), height=32, width=48, quality=95, bound=20.0)


def test_keys():
    assert sample_key("a%2Fb", 1, 1) == "a%2Fb"
    assert [sample_key("a", piece, 2) for piece in (1, 2)] == ["a~0001", "a~0002"]


def test_any_frame_in_any_order(rgb):
    file = ArrowFile(memoryview(rgb))
    assert len(file) == 6
    assert file.metadata == {"height": 32, "width": 48, "quality": 90}
    images = file.rgb([4, 0, 4])
    assert images.shape == (3, 32, 48, 3)
    assert np.array_equal(images[0], images[2])
    assert images[0].mean() - images[1].mean() == pytest.approx(20, abs=1)


def test_flow_is_x_before_y(flow):
    file = ArrowFile(flow)
    assert file.metadata["bound"] == 20
    pairs = file.flow(range(5))
    assert pairs.shape == (5, 2, 32, 48)
    assert np.abs(pairs[:, 0].astype(int) - gradient(5, 32, 48)).mean() < 2
    assert np.abs(pairs[:, 1].astype(int) - 255 + gradient(5, 32, 48)).mean() < 2


def test_same_images_same_bytes(rgb):
    assert rgb == write_rgb(jpeg_rgb(gradient(6, 32, 48, 3), 90), height=32, width=48, quality=90)


def test_a_frame_is_read_without_its_neighbours(rgb):
    """Damage to all other frames goes unnoticed."""
    rows = [bytes(ArrowFile(rgb).row(i)[0]) for i in range(6)]
    damaged = bytearray(rgb)
    for i in (0, 1, 2, 4, 5):
        at = rgb.index(rows[i])
        damaged[at : at + len(rows[i])] = bytes(len(rows[i]))
    assert np.array_equal(ArrowFile(bytes(damaged)).rgb([3]), ArrowFile(rgb).rgb([3]))


def test_decode_sample(rgb, flow):
    fields = {"video_id": "a", "label": "jump", "label_id": 3, "height": 32, "width": 48, "frames": 6, "flows": 5}
    sample = {"__key__": "a", "json": write_facts(fields), "rgb.arrow": rgb}
    with pytest.raises(UserError, match="its JSON is that of 'a'"):
        decode_sample({**sample, "__key__": "b~0001"})
    assert decode_sample(sample)["rgb"].shape == (6, 32, 48, 3)
    assert "flow" not in decode_sample(sample)
    decoded = decode_sample({**sample, "flow.arrow": flow})
    assert decoded["flow"].shape == (5, 2, 32, 48)
    assert (decoded["label"], decoded["label_id"], decoded["bound"], decoded["__key__"]) == ("jump", 3, 20, "a")
    empty = write_flow([], [], height=32, width=48, quality=95, bound=20.0)
    alone = {**sample, "json": write_facts({**fields, "flows": 0}), "flow.arrow": empty}
    assert decode_sample(alone)["flow"].shape == (0, 2, 32, 48)


@pytest.mark.parametrize("name", ["json", "rgb.arrow", "flow.arrow", "rgb.mp4"])
def test_a_changed_bit_of_a_sample_is_never_decoded(rgb, flow, name):
    """Each bit is the one that was written, or the sample is refused; but for bytes that hold nothing of it."""
    fields = {"video_id": "a", "label": "jump", "label_id": 3, "height": 32, "width": 48, "frames": 6, "flows": 5}
    frames = {"rgb.arrow": rgb}
    if name == "rgb.mp4":
        frames = {"rgb.mp4": write_rgb_h264(gradient(6, 32, 48, 3), fps=25, crf=18)}
    sample = {"__key__": "a", "json": write_facts(fields), **frames, "flow.arrow": flow}
    expected = decode_sample(sample)
    refused = 0
    places = np.random.default_rng(0).integers(0, len(sample[name]), 100)
    for place in places.tolist():
        damaged = bytearray(sample[name])
        damaged[place] ^= 1 << place % 8
        try:
            found = decode_sample({**sample, name: bytes(damaged)})
        except UserError:
            refused += 1
            continue
        assert name.endswith("arrow")
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)
    assert refused > len(places) / 2
    said = r"^video a cannot be read from its shard \(.+\): check the dataset with `marey verify`$"
    with pytest.raises(UserError, match=said):
        decode_sample({**sample, name: b""})


@pytest.mark.parametrize("size", [(32, 48), (31, 47)])
@pytest.mark.parametrize("fps", [0, 12.5, 1000.0])
def test_frames_as_h264(size, fps):
    """Odd sizes are restored; a video without a known rate has frames too."""
    images = gradient(30, *size, 3)
    data = write_rgb_h264(images, fps=fps, crf=10)
    assert data == write_rgb_h264(images, fps=fps, crf=10)
    back = read_rgb(data, [2, 29], "h264", frames=30, height=size[0], width=size[1])
    assert back.shape == (2, *size, 3)
    assert np.abs(back.astype(int) - images[[2, 29]]).mean() < 2
    fields = {"video_id": "a", "height": size[0], "width": size[1], "frames": 30}
    decoded = decode_sample({"__key__": "a", "json": write_facts(fields), "rgb.mp4": data})
    assert np.array_equal(decoded["rgb"][[2, 29]], back)
