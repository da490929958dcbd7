import numpy as np
import pytest
from small_dataset import LONG

from tasks.data import ClipSettings, open_dataset
from tasks.data.augment import View, clip_shape, views
from tasks.data.clips import clip_of, train_clip, view_clip
from tasks.data.sampling import view_indices

pytestmark = pytest.mark.quick

RGB = ClipSettings(segments=4, size=32)
FLOW = ClipSettings(stream="flow", segments=2, snippet=5, size=32, mean=(0.5,), std=(0.226,))


@pytest.fixture(scope="module")
def dataset(small_root):
    return open_dataset(small_root)


@pytest.mark.parametrize("clip", [RGB, FLOW], ids=["rgb", "flow"])
def test_a_training_clip_depends_on_seed_epoch_and_sample_alone(dataset, clip):
    sample, other = dataset.samples("train")[:2]
    first = train_clip(dataset, sample, clip, epoch=3)
    assert first.shape == clip_shape(clip)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, train_clip(dataset, sample, clip, epoch=3))
    different = [train_clip(dataset, sample, clip, epoch) for epoch in (4, 5, 6)]
    different.append(train_clip(dataset, other, clip, 3))
    assert not all(np.array_equal(first, clip_) for clip_ in different)


def test_parts_of_a_video_are_samples_of_their_own(dataset):
    parts = [s for s in dataset.samples("train") if s.video_id == LONG]
    clips = [train_clip(dataset, part, RGB, 0) for part in parts]
    greys = [clip[0].mean((1, 2)) * 0.229 * 255 + 0.485 * 255 - 1 for clip in clips]
    assert (np.round(greys[0]) < 7).all()
    assert (np.round(greys[1]) >= 7).all()
    assert (np.diff(greys) >= -0.5).all()  # in time order


@pytest.mark.parametrize("clip", [RGB, FLOW], ids=["rgb", "flow"])
@pytest.mark.parametrize("crops", [1, 3, 10])
def test_views_of_a_stored_video_and_of_one_in_memory_are_the_same(dataset, clip, crops):
    sample = dataset.samples("val")[0]
    video = dataset.rgb(sample, range(12)) if clip.stream == "rgb" else dataset.flow(sample, range(11))
    for view in views(2, crops):
        stored = view_clip(dataset, sample, clip, view)
        assert stored.shape == clip_shape(clip)
        np.testing.assert_array_equal(stored, clip_of(video, clip, view))


def test_a_view_shows_the_frames_of_its_clip(dataset):
    sample = dataset.samples("val")[0]
    for view in (View(), View(index=1, clip=1, clips=2)):
        clip = view_clip(dataset, sample, RGB, view)
        greys = clip[0].mean((1, 2)) * 0.229 * 255 + 0.485 * 255 - 1
        np.testing.assert_allclose(greys, view_indices(12, RGB, view.clip, view.clips), atol=1)
