"""Changes of training clips: alike in all frames, drawn from the clip's seed alone, and what their sources do."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tasks.clips import ClipSettings
from tasks.clips.augment import SAME, area_crop, cut, make_clip, train_crop, train_tone
from tasks.clips.changes import train_changes
from tasks.clips.clips import train_clip
from tasks.clips.color_jitter import FROM_YIQ, LUMA, TO_YIQ, apply, color_matrix
from tasks.clips.rand_augment import (
    _MAKERS,
    BLUR,
    SMOOTH,
    autocontrast,
    enhance_color,
    enhance_contrast,
    enhance_sharpness,
    equalize,
    filtered,
    operations,
)
from tasks.clips.settings import RAND_OPERATIONS
from tasks.data import open_dataset
from tasks.seeds import generator

pytestmark = pytest.mark.quick

SIZE = 48
PLAIN = ClipSettings(segments=3, size=SIZE)
ON = {
    "color_jitter": {"color_jitter": 1.0},
    "degrade": {"degrade": 1.0},
    "rand_augment": {"rand_augment": 4, "rand_magnitude": 7.0},
    "erase": {"erase": 1.0},
}
"""Settings that turn on one change alone."""


@pytest.fixture(scope="module")
def frame():
    """A smooth colourful picture whose values stay off both ends, uint8 [48, 48, 3]."""
    noise = generator("picture").uniform(0, 255, (6, 6, 3)).astype(np.float32)
    return cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC).clip(20, 230).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(small_root):
    return open_dataset(small_root)


def changed(frames, clip, seed):
    for change in train_changes(clip, generator("changes", seed)):
        frames = change(frames)
    return frames


@pytest.mark.parametrize("name", ON)
def test_all_frames_change_alike_and_the_given_ones_stay(name, frame):
    clip = replace(PLAIN, **ON[name])
    frames = np.stack([frame] * 3)
    different = 0
    for seed in range(12):
        given = frames.copy()
        made = changed(given, clip, seed)
        assert (made.shape, made.dtype) == (frames.shape, np.uint8)
        assert (made == made[:1]).all()
        np.testing.assert_array_equal(given, frames)
        np.testing.assert_array_equal(made, changed(frames, clip, seed))
        different += not np.array_equal(made, frames)
    assert different >= 10


@pytest.mark.parametrize("name", ON)
def test_a_changed_clip_is_that_of_its_seed_epoch_and_video(name, dataset):
    sample, other = dataset.samples("train")[:2]
    clip = replace(PLAIN, **ON[name])
    first = train_clip(dataset, sample, clip, epoch=3)
    np.testing.assert_array_equal(first, train_clip(dataset, sample, clip, epoch=3))
    again = [train_clip(dataset, s, clip, e) for s, e in ((other, 3), *((sample, e) for e in range(4, 8)))]
    assert not all(np.array_equal(first, made) for made in again)


@pytest.mark.parametrize("name", ON)
def test_a_clip_without_changes_is_cut_as_before(name, dataset):
    """What is off draws nothing: crop, flip and tone are the same with a change and without."""
    sample = dataset.samples("train")[0]
    plain = replace(PLAIN, color=0.3)
    found = train_clip(dataset, sample, replace(plain, **ON[name]), 1)
    rng = generator(0, 1, sample.video_id, sample.piece_index)
    length = sample.frames // 3
    indices = length * np.arange(3) + rng.integers(0, length, 3)
    items = dataset.rgb(sample, indices)
    box, flip = train_crop(items.shape[2], items.shape[1], plain, rng)
    tone = train_tone(plain, rng)
    np.testing.assert_array_equal(make_clip(items, box, flip, plain, tone=tone), train_clip(dataset, sample, plain, 1))
    frames = cut(items, box, flip, SIZE)
    for change in train_changes(replace(plain, **ON[name]), rng):
        frames = change(frames)
    mean, std = (np.reshape(value, (3, 1, 1, 1)) for value in (plain.mean, plain.std))
    gain, shift = (value.reshape(3, 1, 1, 1) for value in tone)
    expected = (frames.transpose(3, 0, 1, 2) / 255 * gain + shift - mean) / std
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_cutting_before_normalisation_is_cutting_with_it(frame):
    items = np.stack([frame, frame[::-1]])
    box, flip = train_crop(SIZE, SIZE, replace(PLAIN, size=32), generator("box"))
    clip = replace(PLAIN, segments=2, size=32, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    np.testing.assert_allclose(
        cut(items, box, flip, 32).transpose(3, 0, 1, 2), make_clip(items, box, flip, clip, tone=SAME), atol=1e-3
    )


def test_flow_has_no_changes():
    everything = {key: value for on in ON.values() for key, value in on.items()}
    flow = ClipSettings(stream="flow", segments=2, snippet=5, mean=(0.5,), std=(0.226,), **everything)
    rng = generator("flow")
    assert train_changes(flow, rng) == []
    assert rng.random() == generator("flow").random()


# Crops of any area and aspect


def test_crops_by_area_have_the_areas_and_aspects_asked_for():
    clip = ClipSettings(crop="area", area=(0.3, 0.6), aspect=(0.5, 2.0))
    boxes = [area_crop(340, 256, clip, generator("area", i)) for i in range(3000)]
    areas = np.array([box.width * box.height for box in boxes]) / (340 * 256)
    aspects = np.log([box.width / box.height for box in boxes])
    assert 0.29 <= areas.min() < 0.31
    assert 0.59 < areas.max() <= 0.61
    assert np.abs(aspects).max() <= np.log(2) + 0.02
    assert all(0 <= b.x <= 340 - b.width and 0 <= b.y <= 256 - b.height for b in boxes)
    free = np.array([(b.x / (340 - b.width), b.y / (256 - b.height)) for b in boxes if b.height < 256])
    np.testing.assert_allclose(np.quantile(free, (0.1, 0.5, 0.9), 0), [[0.1] * 2, [0.5] * 2, [0.9] * 2], atol=0.03)


def test_a_frame_too_narrow_for_any_draw_is_cut_in_its_centre():
    clip = ClipSettings(crop="area", area=(0.9, 1.0))
    box = area_crop(400, 40, clip, generator("narrow"))
    assert (box.height, box.width, box.y) == (40, round(40 * 4 / 3), 0)
    assert box.x == (400 - box.width) // 2
    assert area_crop(40, 400, clip, generator("narrow")).height == round(40 / (3 / 4))


# TPN's changes of colour


def test_colours_change_as_one_matrix(frame):
    """Against each step alone, in floating point: brightness, contrast first or last, saturation, hue, lighting."""
    rows = frame.reshape(-1, 3).astype(float)
    seen = Counter()
    for seed in range(40):
        matrix = color_matrix(1.0, generator("colour", seed))
        rng = generator("colour", seed)
        brightness, (contrast, saturation) = 32 * rng.uniform(-1, 1), 1 + 0.4 * rng.uniform(-1, 1, 2)
        angle, on, axes = np.pi * rng.uniform(-1, 1), rng.random(5) < 0.5, rng.normal(0, 0.1, 3)
        seen.update(np.flatnonzero(on).tolist())
        values = rows + brightness * on[0]
        if on[4]:
            values = values * (contrast if on[1] else 1)
        if on[2]:
            values = saturation * values + (1 - saturation) * (values @ LUMA)[:, None]
        if on[3]:
            y, i, q = TO_YIQ @ values.T
            turned = np.stack([y, np.cos(angle) * i - np.sin(angle) * q, np.sin(angle) * i + np.cos(angle) * q])
            values = (FROM_YIQ @ turned).T
        if not on[4]:
            values = values * (contrast if on[1] else 1)
        lighting = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]) @ (
            axes * [55.46, 4.794, 1.148]
        )
        np.testing.assert_allclose(rows @ matrix[:, :3].T + matrix[:, 3], values + lighting, atol=1e-6)
        made = apply(frame[None], matrix)[0].reshape(-1, 3)
        assert np.abs(made - (values + lighting).clip(0, 255)).max() <= 1
    assert all(10 <= seen[i] <= 30 for i in range(5))


def test_weaker_colours_are_closer_and_none_is_the_picture(frame):
    distances = [
        np.mean([np.abs(color_matrix(s, generator("s", i))[:, :3] - np.eye(3)).max() for i in range(200)])
        for s in (0.1, 0.5, 1.0)
    ]
    assert distances == sorted(distances)
    np.testing.assert_allclose(color_matrix(0.0, generator("s")), np.eye(3, 4), atol=2e-3)


# RandAugment, against Pillow


@pytest.mark.parametrize(
    ("ours", "pillows"),
    [
        (autocontrast, ImageOps.autocontrast),
        (equalize, ImageOps.equalize),
        (lambda frames: enhance_color(frames, 1.4), lambda image: ImageEnhance.Color(image).enhance(1.4)),
        (lambda frames: enhance_contrast(frames, 0.6), lambda image: ImageEnhance.Contrast(image).enhance(0.6)),
        (lambda frames: enhance_sharpness(frames, 1.7), lambda image: ImageEnhance.Sharpness(image).enhance(1.7)),
        (lambda frames: filtered(frames, BLUR), lambda image: image.filter(ImageFilter.BLUR)),
        (lambda frames: filtered(frames, SMOOTH), lambda image: image.filter(ImageFilter.SMOOTH)),
    ],
    ids=["autocontrast", "equalize", "color", "contrast", "sharpness", "blur", "smooth"],
)
def test_operations_are_pillows(ours, pillows, frame):
    expected = np.asarray(pillows(Image.fromarray(frame))).astype(int)
    assert np.abs(ours(frame[None])[0].astype(int) - expected).max() <= 2
    assert np.abs(expected - frame).max() > 5


def test_what_is_taken_from_a_picture_is_taken_from_the_whole_clip(frame):
    dark = frame // 2
    for change in (autocontrast, equalize, lambda frames: enhance_contrast(frames, 0.5)):
        together = change(np.stack([frame, dark]))
        assert not np.array_equal(together[1], change(dark[None])[0])
        values = {}
        for before, after in zip(np.stack([frame, dark]).reshape(-1, 3), together.reshape(-1, 3), strict=True):
            assert values.setdefault(int(before[0]), after[0]) == after[0]  # one table for all frames


@pytest.mark.parametrize(
    ("number", "pillows"),
    [(3, ImageOps.invert), (5, lambda i: ImageOps.posterize(i, 5)), (6, lambda i: ImageOps.solarize(i, 128))],
    ids=["invert", "posterize", "solarize"],
)
def test_operations_at_half_magnitude_are_pillows(number, pillows, frame):
    made = _MAKERS[number](0.5, SIZE, generator("half"))(frame[None])[0]
    np.testing.assert_array_equal(made, np.asarray(pillows(Image.fromarray(frame))))


def test_turning_shearing_and_moving_by_the_published_amounts():
    frames = np.zeros((1, 100, 100, 3), np.uint8)
    frames[0, 50, 50] = 255
    for number, row in ((13, 1), (14, 0)):  # a third of the side times 0.33 ...
        made = _MAKERS[number](1.0, 100, generator("move"))(frames)[0]
        (place,) = np.argwhere((made == 255).all(2))
        assert abs(abs(place[row] - 50) - 33) <= 1
        assert place[1 - row] == 50
        assert (made == 128).all(2).sum() == 33 * 100
    frames[0, :, 40:60] = 255
    made = _MAKERS[4](1.0, 100, generator("turn"))(frames)[0]
    ys, xs = np.nonzero((made == 255).all(2))
    slope = np.polyfit(ys, xs, 1)[0]
    assert abs(slope) == pytest.approx(np.tan(np.radians(30)), rel=0.15)
    made = _MAKERS[11](1.0, 100, generator("shear"))(frames)[0]
    ys, xs = np.nonzero((made == 255).all(2))
    assert abs(np.polyfit(ys, xs, 1)[0]) == pytest.approx(0.3, rel=0.15)


def test_what_is_cut_out_is_a_grey_square():
    frames = np.zeros((2, 80, 80, 3), np.uint8)
    sizes = set()
    for seed in range(30):
        made = _MAKERS[15](1.0, 80, generator("cut", seed))(frames)
        rows, columns = (np.flatnonzero((made[1, ..., 0] == 128).any(axis)) for axis in (1, 0))
        assert (made[1] == 128).all(2).sum() == len(rows) * len(columns)
        sizes |= {len(rows), len(columns)}
    assert max(sizes) == 50
    assert min(sizes) < 50  # beyond the edge


def test_a_clip_gets_different_operations_in_every_order():
    assert len(_MAKERS) == RAND_OPERATIONS
    drawn = [generator("n", i).permutation(RAND_OPERATIONS)[:4] for i in range(3000)]
    assert Counter(np.concatenate(drawn).tolist()).keys() == set(range(RAND_OPERATIONS))
    assert len(operations(4, 7, SIZE, generator("n"))) == 4
    assert len(operations(18, 7, SIZE, generator("n"))) == 18


def test_without_magnitude_only_what_has_none_changes(frame):
    frames = frame[None]
    for number in (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14):
        made = _MAKERS[number](0.0, SIZE, generator("none"))(frames)
        assert np.abs(made.astype(int) - frames).max() <= 1, number


# Random erasing


def test_erased_is_one_rectangle_of_the_mean_colour(frame):
    clip = replace(PLAIN, erase=1.0)
    areas = []
    for seed in range(300):
        made = changed(np.stack([frame] * 3), clip, seed)
        gone = (made == np.rint(255 * np.array(clip.mean))).all((0, 3))
        rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
        assert gone.sum() == len(rows) * len(columns) > 0
        assert (made[:, ~gone] == frame[~gone]).all()
        areas.append(gone.mean())
    assert 0.01 < min(areas) < 0.05
    assert 0.25 < max(areas) < 0.37


def test_a_part_of_the_clips_is_erased_or_degraded(frame):
    frames = np.stack([frame] * 2)
    for name in ("erase", "degrade"):
        clip = replace(PLAIN, **{name: 0.25})
        hits = sum(bool(train_changes(clip, generator(name, seed))) for seed in range(800))
        assert 150 < hits < 250
    assert train_changes(PLAIN, generator("off")) == []
    np.testing.assert_array_equal(frames, np.stack([frame] * 2))


# MTNet's changes


def test_each_degradation_stays_near_the_picture(frame):
    """Its code's ranges are mild: a clip keeps its picture, and every one of the eight occurs."""
    from tasks.clips import degrade

    makers = [
        getattr(degrade, f"_{name}")
        for name in ("blur", "shift", "noise", "color", "motion", "hue_and_saturation", "contrast", "tilt_or_turn")
    ]
    for make in makers:
        distances = [
            np.abs(make(SIZE, generator("d", i))(frame[None])[0].astype(int) - frame)[6:-6, 6:-6].mean()
            for i in range(12)
        ]
        assert max(distances) < 45, make
        assert make is degrade._blur or max(distances) > 0.3, make
    counts = [len(degrade.degradations(SIZE, generator("count", i))) for i in range(500)]
    assert np.mean(counts) == pytest.approx(8 * 0.4, abs=0.25)
