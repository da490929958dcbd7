"""Which frame of a video is shown, and what its flow looks like."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from small_dataset import LONG, write_dataset

from pipelines.errors import UserError
from pipelines.preview.pictures import Picture, colour_scale, coloured, read_pictures
from tasks.data.overview import read_overview
from tasks.data.reader import Reader
from tasks.data.tables import write_records
from tasks.video import dequantize

pytestmark = pytest.mark.quick


def pictures_of(root, *video_ids):
    write_records(root)
    reader = Reader(root)
    overview = read_overview(reader)
    return read_pictures(reader, overview, [overview.videos["video_id"].to_pylist().index(name) for name in video_ids])


def grey_of(picture):
    return cv2.imdecode(np.frombuffer(picture.rgb, np.uint8), cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize("rgb", ["jpeg", "h264"])
def test_the_middle_frame_and_its_flow_also_of_a_video_in_parts(tmp_path, rgb):
    root = write_dataset(tmp_path / "data", frames=20, rgb=rgb)
    for picture in pictures_of(root, "jump%2F0", LONG):  # the second has pieces of 7 and 13 frames
        assert (picture.frames, picture.seconds, picture.size) == (20, 20 / 24, (64, 48))
        assert grey_of(picture).mean() == pytest.approx(11, abs=2)  # frame 10
        expected = dequantize(np.uint8([11, 111]))
        assert picture.flow is not None
        np.testing.assert_allclose(picture.flow.mean((1, 2)), expected, atol=0.2)
        assert picture.speed == pytest.approx(float(np.hypot(*expected)), abs=0.3)


def test_the_last_pair_where_the_middle_frame_has_none_and_no_motion_is_white(tmp_path):
    (picture,) = pictures_of(write_dataset(tmp_path / "data", videos=1, frames=2), "jump%2F0")
    assert grey_of(picture).mean() == pytest.approx(2, abs=1)
    assert picture.flow is not None
    assert picture.flow[0].mean() == pytest.approx(float(dequantize(np.uint8([1]))[0]), abs=0.2)
    (still,) = pictures_of(write_dataset(tmp_path / "still", videos=1, frames=54), "jump%2F0")  # y of pair 27 is 128
    assert still.flow is not None
    assert (still.flow[1] == 0).all()


def test_without_flow(tmp_path):
    (picture,) = pictures_of(write_dataset(tmp_path / "data", flow=False), "jump%2F0")
    assert picture.flow is None
    assert coloured(picture, 1.0) is None
    assert colour_scale([picture]) == 1


def test_large_frames_become_small_pictures(tmp_path):
    (picture,) = pictures_of(write_dataset(tmp_path / "data", videos=1, size=(720, 960)), "jump%2F0")
    assert grey_of(picture).shape == (192, 256)
    assert picture.flow is not None
    assert picture.flow.shape == (2, 192, 256)
    assert picture.size == (960, 720)


def test_records_that_no_longer_fit_their_shard_are_refused(tmp_path):
    root = write_dataset(tmp_path / "data")
    write_records(root)
    reader = Reader(root)
    overview = read_overview(reader)
    write_dataset(tmp_path / "data", frames=14)
    with pytest.raises(UserError, match="; run the same `marey prepare` again"):
        read_pictures(reader, overview, [0])


@pytest.mark.parametrize(("fastest", "scale"), [(0.0, 1), (0.3, 1), (1.2, 1.5), (3.5, 4), (17.0, 20), (28.2, 30)])
def test_the_scale_is_round_and_holds_most_pictures(fastest, scale):
    picture = Picture(
        video_id="v",
        label_id=0,
        part=None,
        frames=2,
        seconds=None,
        size=(1, 1),
        rgb=b"",
        flow=np.zeros((2, 1, 1), np.float16),
        fastest=fastest,
    )
    assert colour_scale([picture] * 3) == scale
