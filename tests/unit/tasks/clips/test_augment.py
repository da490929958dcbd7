import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from tasks.clips import ClipSettings, views
from tasks.clips.augment import SAME, Box, Tone, crop_sizes, make_clip, places, train_crop, train_tone, view_crop
from tasks.seeds import generator

pytestmark = pytest.mark.quick

RGB = ClipSettings(segments=4)
FLOW = ClipSettings(stream="flow", segments=2, snippet=5, mean=(0.5,), std=(0.226,), scales=(1, 0.875, 0.75))


def test_sizes_of_the_multi_scale_crop():
    sizes = crop_sizes(340, 256, RGB)
    assert len(sizes) == len(set(sizes)) == 10
    assert {width for width, _ in sizes} == {256, 224, 192, 168}
    assert (256, 256) in sizes
    assert (256, 224) in sizes
    assert (256, 192) not in sizes
    assert len(crop_sizes(340, 256, FLOW)) == 7


def test_a_side_next_to_the_clip_becomes_it_but_never_leaves_the_frame():
    assert {width for width, _ in crop_sizes(400, 258, RGB)} == {258, 224, 193, 170}  # 225 -> 224
    assert max(width for width, _ in crop_sizes(400, 223, RGB)) == 223


def test_the_13_places():
    boxes = places(340, 256, 224, 224)
    assert len(set(boxes)) == 13
    assert [box[:2] for box in boxes[:5]] == [(0, 0), (116, 0), (0, 32), (116, 32), (58, 16)]
    assert [box[:2] for box in boxes[5:9]] == [(0, 16), (116, 16), (58, 32), (58, 0)]
    assert [box[:2] for box in boxes[9:]] == [(29, 8), (87, 8), (29, 24), (87, 24)]


@pytest.mark.parametrize(("width", "height"), [(340, 256), (256, 341), (64, 64), (223, 300), (57, 999)])
def test_crops_never_leave_the_frame(width, height):
    for clip in (RGB, FLOW, ClipSettings(size=56)):
        for i in range(300):
            assert inside(train_crop(width, height, clip, generator(i))[0], width, height)
    for crops in (1, 3, 10):
        for view in views(1, crops):
            assert inside(view_crop(width, height, view)[0], width, height)


def inside(box, width, height):
    return box.x >= 0 and box.y >= 0 and box.x + box.width <= width and box.y + box.height <= height


def test_training_uses_every_box_and_flips_half():
    drawn = [train_crop(340, 256, RGB, generator(i)) for i in range(6000)]
    expected = {box for size in crop_sizes(340, 256, RGB) for box in places(340, 256, *size)}
    assert {box for box, _ in drawn} == expected
    assert 0.47 < np.mean([flip for _, flip in drawn]) < 0.53
    never = ClipSettings(flip=0.0)
    assert not any(train_crop(340, 256, never, generator(i))[1] for i in range(100))


def test_a_region_of_fixed_size_is_taken_anywhere():
    """224 pixels of frames whose shorter side is 320, and in proportion where a clip or a frame is smaller."""
    region = ClipSettings(crop="anywhere", scales=(0.7,), max_distort=0)
    boxes = [train_crop(569, 320, region, generator("region", i))[0] for i in range(4000)]
    assert {(box.width, box.height) for box in boxes} == {(224, 224)}
    assert all(inside(box, 569, 320) for box in boxes)
    assert {box.y for box in boxes} == set(range(97))
    assert (min(box.x for box in boxes), max(box.x for box in boxes)) == (0, 345)
    assert np.mean([box.x for box in boxes]) == pytest.approx(345 / 2, rel=0.03)
    coarse = train_crop(569, 320, replace(region, size=112), generator("region"))[0]
    assert coarse == train_crop(569, 320, region, generator("region"))[0]
    assert train_crop(142, 80, replace(region, size=56), generator("region"))[0][2:] == (56, 56)


def test_views_of_the_protocols():
    assert [(v.index, v.clip, v.crop) for v in views(2, 3)] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 0, 2),
        (3, 1, 0),
        (4, 1, 1),
        (5, 1, 2),
    ]
    assert [view_crop(340, 256, v) for v in views(1, 1)] == [(Box(58, 16, 224, 224), False)]
    assert [view_crop(340, 256, v)[0] for v in views(1, 3)] == [Box(x, 0, 256, 256) for x in (0, 42, 84)]
    assert [view_crop(256, 341, v)[0] for v in views(1, 3)] == [Box(0, y, 256, 256) for y in (0, 42, 85)]
    ten = [view_crop(340, 256, v) for v in views(1, 10)]
    assert [box for box, _ in ten[:5]] == [box for box, _ in ten[5:]] == places(340, 256, 224, 224)[:5]
    assert [flip for _, flip in ten] == [False] * 5 + [True] * 5


def test_an_rgb_clip_is_cut_and_normalised():
    frames = np.random.default_rng(0).integers(0, 256, (4, 256, 340, 3), np.uint8)
    clip = make_clip(frames, Box(58, 16, 224, 224), False, RGB)
    assert clip.shape == (3, 4, 224, 224)
    assert clip.dtype == np.float32
    cut = frames[:, 16:240, 58:282].transpose(3, 0, 1, 2) / 255
    mean, std = (np.array(values).reshape(3, 1, 1, 1) for values in (RGB.mean, RGB.std))
    np.testing.assert_allclose(clip, (cut - mean) / std, atol=1e-5)
    flipped = make_clip(frames, Box(58, 16, 224, 224), True, RGB)
    np.testing.assert_array_equal(flipped, clip[..., ::-1])


def test_a_flow_clip_has_the_channels_x1_y1_x2_y2():
    """Item i has x = i and y = 100 + i everywhere."""
    flow = np.broadcast_to(np.array([[i, 100 + i] for i in range(10)], np.uint8)[:, :, None, None], (10, 2, 60, 80))
    clip = make_clip(flow, Box(5, 5, 40, 50), False, FLOW)
    assert clip.shape == (10, 2, 224, 224)
    values = clip[:, :, 7, 9] * 0.226 * 255 + 127.5
    expected = [[0, 5], [100, 105], [1, 6], [101, 106], [2, 7], [102, 107], [3, 8], [103, 108], [4, 9], [104, 109]]
    np.testing.assert_allclose(values, expected, atol=1e-3)


def test_a_flip_inverts_x_flow_alone():
    flow = np.random.default_rng(0).integers(0, 256, (10, 2, 224, 224), np.uint8)
    whole = Box(0, 0, 224, 224)
    pixels = make_clip(flow, whole, False, FLOW) * 0.226 * 255 + 127.5
    flipped = make_clip(flow, whole, True, FLOW) * 0.226 * 255 + 127.5
    np.testing.assert_allclose(flipped[0::2], 255 - pixels[0::2, ..., ::-1], atol=1e-3)
    np.testing.assert_allclose(flipped[1::2], pixels[1::2, ..., ::-1], atol=1e-3)
    twice = flow[..., ::-1].copy()
    twice[:, 0] = 255 - twice[:, 0]
    np.testing.assert_allclose(make_clip(twice, whole, True, FLOW), make_clip(flow, whole, False, FLOW), atol=1e-5)


def test_all_frames_of_a_clip_are_cut_alike():
    frame = np.random.default_rng(0).integers(0, 256, (256, 340, 3), np.uint8)
    box, flip = train_crop(340, 256, RGB, generator(3))
    clip = make_clip(np.stack([frame] * 4), box, flip, RGB)
    assert all(np.array_equal(clip[:, 0], clip[:, t]) for t in range(4))


def test_a_tone_changes_all_frames_before_they_are_normalised():
    frames = generator("frames").integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    clip = ClipSettings(segments=4, size=64)
    tone = Tone(np.array([0.5, 1, 2], np.float32), np.array([0.1, 0, -0.2], np.float32))
    box = Box(0, 0, 64, 64)
    changed = frames / 255 * tone.gain + tone.shift
    expected = ((changed - clip.mean) / clip.std).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(make_clip(frames, box, False, clip, tone=tone), expected, atol=1e-5)
    np.testing.assert_array_equal(make_clip(frames, box, False, clip, tone=SAME), make_clip(frames, box, False, clip))


def test_tones_spread_around_the_picture_as_it_is():
    strong = replace(RGB, color=0.4)
    tones = [train_tone(strong, generator("tone", i)) for i in range(2000)]
    gains = np.stack([tone.gain for tone in tones])
    shifts = np.stack([tone.shift for tone in tones])
    assert np.abs(gains.mean(0) - 1).max() < 0.03
    assert np.abs(shifts.mean(0)).max() < 0.01
    assert gains.min() >= 0.6 * 0.6 * 0.8
    assert gains.max() <= 1.4 * 1.4 * 1.2
    assert gains.std(1).min() > 0  # the tint differs between colours
    assert train_tone(RGB, generator("tone")) is SAME
    assert train_tone(replace(FLOW, color=0.4), generator("tone")) is SAME


def test_settings_that_went_through_json_are_the_same():
    """A checkpoint keeps them so; what is computed from them is kept by their values."""
    clip = ClipSettings(scales=(1.0, 0.8), mean=(0.5,), std=(0.2,), stream="flow")
    read = ClipSettings(**json.loads(json.dumps(asdict(clip))))
    assert (read, hash(read)) == (clip, hash(clip))
