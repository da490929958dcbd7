import shutil

import fsspec
import numpy as np
import pytest

from tasks.data.process import process_video
from tasks.data.settings import PrepareSettings
from tasks.video import DecoderProcess, VideoError, decode
from tasks.video.codecs import jpeg_rgb
from tasks.video.image_folder import FPS

pytestmark = pytest.mark.quick


def numbered(frames=24, height=48, width=64):
    """Frame t is grey 10 t."""
    return (
        np.full((frames, height, width, 3), 1, np.uint8) * (10 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
    )


def write(folder, images, names):
    folder.mkdir(exist_ok=True)
    for name, data in zip(names, jpeg_rgb(images), strict=True):
        (folder / name).write_bytes(data)
    return folder


def numbers(images):
    return np.round(images.mean((1, 2, 3)) / 10).astype(int).tolist()


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "148092", numbered(), [f"{number:05d}.jpg" for number in range(1, 25)])


def failure(folder, **arguments):
    with pytest.raises(VideoError) as error:
        decode(str(folder), **arguments)
    return error.value.kind, error.value.message


def test_images_in_the_order_of_their_numbers(folder):
    frames = decode(str(folder))
    assert frames.images.shape == (24, 48, 64, 3)
    assert numbers(frames.images) == list(range(24))
    assert (frames.fps, frames.total, frames.decoder) == (FPS, 24, "opencv") == (12, 24, "opencv")
    np.testing.assert_allclose(frames.timestamps, np.arange(24) / 12)


def test_colours_are_rgb(tmp_path):
    images = np.zeros((2, 48, 64, 3), np.uint8)
    images[..., 0] = 200
    image = decode(str(write(tmp_path / "red", images, ["1.jpg", "2.jpg"]))).images[1]
    assert image[24, 32, 0] > 190 > 10 > image[24, 32, 2]


def test_ranges(folder):
    assert numbers(decode(str(folder), start_s=0.5, end_s=1.0).images) == list(range(6, 12))
    frames = decode(str(folder), start_s=0.5, end_s=1.0, first=2, count=3, short_side=24)
    assert numbers(frames.images) == [8, 9, 10]
    assert frames.images.shape == (3, 24, 32, 3)
    assert (frames.total, frames.timestamps[0]) == (6, 8 / 12)
    assert numbers(decode(str(folder), first=22, count=9).images) == [22, 23]
    assert failure(folder, start_s=3) == ("too_short", "no frame in the range: the video ends at 2.00 s")


def test_names_without_leading_zeros_and_other_files(tmp_path):
    folder = write(tmp_path / "video", numbered(12), [f"{number}.JPEG" for number in range(12)])
    for name in ("Thumbs.db", "00003.txt", "flow_x_00001.jpg"):
        (folder / name).write_bytes(b"x")
    assert numbers(decode(str(folder)).images) == list(range(12))


@pytest.mark.parametrize("name", ["img_{:05d}.jpg", "image-{}.png", "frame{:06d}.JPG"])
def test_names_that_other_tools_give(tmp_path, name):
    folder = write(tmp_path / "video", numbered(12), [name.format(number) for number in range(1, 13)])
    (folder / "flow_x_00001.jpg").write_bytes(b"x")
    assert numbers(decode(str(folder)).images) == list(range(12))
    shutil.copy(folder / name.format(3), folder / "3.jpg")
    assert failure(folder) == ("unreadable", f"{name.format(3)} has the same number as 3.jpg")


def test_png(tmp_path):
    import cv2

    folder = tmp_path / "video"
    folder.mkdir()
    for number, image in enumerate(numbered(3), 1):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    assert numbers(decode(str(folder)).images) == [0, 1, 2]
    data = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(data[: len(data) // 2])
    assert failure(folder) == ("truncated", "3.png cannot be decoded")


def test_other_file_systems(folder):
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/jester/148092", recursive=True)
    assert numbers(decode("memory://jester/148092", first=20).images) == [20, 21, 22, 23]
    assert failure("memory://jester/148093")[0] == "missing"
    assert numbers(decode(f"file://{folder}", count=2).images) == [0, 1]


def test_no_images(tmp_path):
    (tmp_path / "flow_x_00001.jpg").write_bytes(b"x")
    kind, message = failure(tmp_path)
    assert kind == "no_video"
    assert "no numbered images, such as 00001.jpg or img_00001.jpg" in message


@pytest.mark.parametrize(("gone", "message"), [(7, "image 7 of 24 is missing"), (1, "image 1 of 24 is missing")])
def test_a_gap_is_truncated(folder, gone, message):
    (folder / f"{gone:05d}.jpg").unlink()
    assert failure(folder) == ("truncated", message)
    assert failure(folder, first=20) == ("truncated", message)


@pytest.mark.parametrize("target", ["00003.jpg", "nowhere"])
def test_a_link_that_leads_nowhere_is_truncated(folder, target):
    (folder / "00003.jpg").unlink()
    (folder / "00003.jpg").symlink_to(target)
    assert failure(folder) == ("truncated", "00003.jpg is a link that leads nowhere")


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
@pytest.mark.parametrize("number", [1, 12, 24])
def test_one_broken_image_is_truncated(folder, number, part):
    path = folder / f"{number:05d}.jpg"
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert failure(folder) == ("truncated", f"{path.name} cannot be decoded")


def test_nothing_but_broken_images_is_unreadable(folder):
    for path in folder.iterdir():
        path.write_text("<html>not found</html>")
    assert failure(folder) == ("unreadable", "00001.jpg cannot be decoded")


def test_sizes_that_differ_are_refused(folder):
    write(folder, numbered(1, 40, 60), ["00009.jpg"])
    assert failure(folder) == ("unreadable", "00009.jpg is 60 x 40 pixels, after 64 x 48 pixels")


def test_two_images_of_one_number_are_refused(folder):
    shutil.copy(folder / "00003.jpg", folder / "3.jpg")
    assert failure(folder) == ("unreadable", "3.jpg has the same number as 00003.jpg")


def test_records_of_frame_folders(folder, tmp_path):
    row = {"video_id": "1", "uri": str(folder), "label": "a", "label_id": 0, "group": None}
    row |= {"start_s": None, "end_s": None}
    settings = PrepareSettings(short_side=24, flow="none", max_sample_frames=10)
    with DecoderProcess() as decoder:
        done = process_video(row, settings, decoder)
        record = done.record
        assert (record["status"], record["decoder"], record["fps"], record["frames"]) == ("ok", "opencv", 12.0, 24)
        assert [piece["frames"] for piece in record["pieces"]] == [10, 10, 4]
        write(folder, numbered(1, 40, 60), ["00013.jpg"])  # after what the first piece reads
        assert process_video(row, settings, decoder).record["kind"] == "unreadable"
        (folder / "00002.jpg").unlink()
        record = process_video(row, settings, decoder).record
        assert (record["status"], record["kind"]) == ("failed", "truncated")
