"""The built-in videos: no single frame and no property of a file distinguishes twins."""

import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.seeds import generator
from tasks.stickfigures import FigureSettings
from tasks.stickfigures.body import bend
from tasks.stickfigures.videos import Action, FigureVideo, actions, list_videos, render, write

SMALL = FigureSettings(train_clips=1, val_clips=1, test_clips=1)
PAIRS = [action for action in actions() if action.reverses and not action.backwards]
TEMPI = [action for action in actions() if not action.reverses][::2]


def video(label: str, number: int = 0) -> FigureVideo:
    return FigureVideo(label, "train", person=number % 3, number=number)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.quick
def test_classes_come_in_twins():
    by_name = {action.name: action for action in actions()}
    assert len(by_name) == len(actions()) >= 16
    assert len(PAIRS) >= 6
    assert len(TEMPI) >= 2
    for action in actions():
        twin = by_name[action.twin]
        assert twin.twin == action.name
        assert action.partner == (action.twin if action.reverses else None)
        assert twin.backwards == (action.reverses and not action.backwards)


@pytest.mark.quick
def test_parts_share_no_person_and_twins_share_scenes():
    settings = FigureSettings.demo()
    videos = list_videos(settings)
    assert len({item.path for item in videos}) == len(videos)
    people = {part: {item.person for item in videos if item.part == part} for part in ("train", "val", "test")}
    sizes = settings.train_people, settings.val_people, settings.test_people
    assert tuple(map(len, people.values())) == sizes
    assert len(set.union(*people.values())) == sum(sizes)
    assert len({(item.part, item.number) for item in videos}) == len({item.number for item in videos})
    assert sum(item.part == "test" for item in videos) >= 300

    scenes = Counter((item.part, item.person, item.number) for item in videos)
    assert set(scenes.values()) == {len(actions())}
    for part, clips in (("train", settings.train_clips), ("val", settings.val_clips), ("test", settings.test_clips)):
        assert set(Counter(item.label for item in videos if item.part == part).values()) == {clips}


@pytest.mark.quick
def test_same_seed_same_frames_in_another_process():
    program = (
        "import hashlib, tests_figures as t\n"
        "print(hashlib.sha256(b''.join(t.render(t.video(a.name), t.SMALL).tobytes() for a in t.actions())).hexdigest())"
    )
    setup = f"import importlib.util as u, sys; s = u.spec_from_file_location('tests_figures', {__file__!r})\n"
    setup += "m = u.module_from_spec(s); sys.modules['tests_figures'] = m; s.loader.exec_module(m)\n"
    other = subprocess.run(
        [sys.executable, "-c", setup + program], capture_output=True, text=True, check=True, timeout=600
    )
    here = b"".join(render(video(action.name), SMALL).tobytes() for action in actions())
    assert other.stdout.strip() == hashlib.sha256(here).hexdigest()

    images = render(video("sit_down"), SMALL)
    assert images.shape == (SMALL.frames, 64, 64, 3)
    assert images.dtype == np.uint8
    assert (images != render(video("sit_down", 1), SMALL)).any()
    assert (images != render(video("sit_down"), replace(SMALL, seed=1))).any()


@pytest.mark.quick
@pytest.mark.parametrize("action", PAIRS, ids=lambda action: action.name)
def test_files_of_reversed_twins_decode_to_the_same_frames_backwards(action: Action, tmp_path: Path):
    decord = pytest.importorskip("decord", reason="no decord wheel for this platform")
    one, other = (write(video(name), SMALL, tmp_path) for name in (action.name, action.twin))
    assert one.name == other.name
    assert abs(one.stat().st_size - other.stat().st_size) < 32  # bit stuffing of the frames' running numbers

    frames = decoded(one)
    assert len({frame.tobytes() for frame in frames}) == SMALL.frames
    np.testing.assert_array_equal(decoded(other), frames[::-1])
    readers = [decord.VideoReader(str(path), num_threads=1) for path in (one, other)]
    every = list(range(SMALL.frames))
    first, second = (reader.get_batch(every).asnumpy() for reader in readers)
    np.testing.assert_array_equal(second, first[::-1])
    assert readers[0].get_avg_fps() == readers[1].get_avg_fps() == SMALL.fps
    np.testing.assert_array_equal(readers[0].get_frame_timestamp(every), readers[1].get_frame_timestamp(every))


@pytest.mark.quick
def test_walking_direction_is_the_label_whichever_way_the_figure_looks():
    """People walk forwards and backwards under both labels, depending on the mirror."""
    calm = replace(SMALL, clutter=0.0, noise=0.0, shake=0.0)
    for number in range(8):
        frames = {name: render(video(name, number), calm).astype(float) for name in ("walk_left", "walk_right")}
        for name, images in frames.items():
            moving = np.abs(images - np.median(images, axis=0)).sum(axis=(1, 3))  # [T, columns]
            centre = (moving * np.arange(64)).sum(axis=1) / moving.sum(axis=1)
            assert (centre[-1] > centre[0]) == (name == "walk_right")
    mirrored = [generator(calm.seed, "scene", "walk_left", "walk_right", number).integers(2) for number in range(60)]
    assert 20 <= sum(mirrored) <= 40


@pytest.mark.quick
def test_limbs_keep_their_length_even_out_of_reach():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(50, 2, 2))
    target = root + 0.3 * rng.normal(size=(50, 2, 2))
    middle, end = bend(root, target, 0.2, 0.3, np.array([-1.0, 1.0]))
    np.testing.assert_allclose(np.linalg.norm(middle - root, axis=-1), 0.2, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(end - middle, axis=-1), 0.3, rtol=1e-6)
    reached = np.linalg.norm(target - root, axis=-1)
    near = (reached > 0.11) & (reached < 0.49)
    assert 10 < near.sum() < 90
    np.testing.assert_allclose(end[near], target[near])


# A classifier that sees frames in any order but the true one must be at chance within each pair.

TRAIN, TEST = range(10), range(10, 18)


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    """Return grey frames [clips, T, 16, 16] of every class. Files add nothing: twins decode alike (see above)."""
    settings = replace(SMALL, size=32, clutter=0.5)

    def load(name: str, number: int) -> np.ndarray:
        return render(video(name, number), settings).mean(axis=3).reshape(-1, 16, 2, 16, 2).mean(axis=(2, 4))

    return {action.name: np.stack([load(action.name, n) for n in (*TRAIN, *TEST)]) for action in actions()}


def blind(videos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return mean and deviation of the frames, and the frames themselves in random order."""
    shuffled = np.stack([frames[rng.permutation(len(frames))] for frames in videos])
    return np.concatenate([part.reshape(len(videos), -1) for part in (videos.mean(1), videos.std(1), shuffled)], axis=1)


def motion(videos: np.ndarray) -> np.ndarray:
    """Return where things move to, as profiles, as people face both ways."""
    drift = np.einsum("t,ntyx->nyx", np.linspace(-1, 1, videos.shape[1]), moving(videos))
    return np.concatenate([drift.sum(axis=2), drift.sum(axis=1), (drift + drift[..., ::-1]).sum(axis=1)], axis=1)


def tempo(videos: np.ndarray) -> np.ndarray:
    """Return how much changes within 1, 2 and 4 frames, relative to the total change."""
    steps = [np.abs(videos[:, lag:] - videos[:, :-lag]).mean(axis=(1, 2, 3)) for lag in (1, 2, 4)]
    return np.stack(steps, axis=1) / moving(videos).mean(axis=(1, 2, 3))[:, None]


def moving(videos: np.ndarray) -> np.ndarray:
    return np.abs(videos - np.median(videos, axis=1, keepdims=True))


def accuracy(features: np.ndarray) -> float:
    """Return the percentage right on TEST of a ridge regression of [2 classes, clips, D] on +-1, fitted on TRAIN."""
    train = features[:, : len(TRAIN)].reshape(-1, features.shape[-1])
    test = features[:, len(TRAIN) :].reshape(-1, features.shape[-1])
    mean, scale = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / scale, (test - mean) / scale
    kernel = train @ train.T
    sign = np.repeat([-1.0, 1.0], len(TRAIN))
    weights = train.T @ np.linalg.solve(kernel + 0.3 * np.trace(kernel) / len(kernel) * np.eye(len(kernel)), sign)
    return 100 * float((np.sign(test @ weights) == np.repeat([-1.0, 1.0], len(TEST))).mean())


def inside(clips: dict[str, np.ndarray], pairs: list[Action], features) -> np.ndarray:
    return np.array([accuracy(np.stack([features(clips[a.name]), features(clips[a.twin])])) for a in pairs])


def blindly(clips: dict[str, np.ndarray], pairs: list[Action]) -> float:
    """Return the mean accuracy within pairs over 20 shuffles."""
    rng = np.random.default_rng(0)
    return float(np.mean([inside(clips, pairs, partial(blind, rng=rng)) for _ in range(20)]))


def test_frames_in_any_order_do_not_tell_reversed_twins_apart(clips):
    assert abs(blindly(clips, PAIRS) - 50) < 3  # a standard deviation is 0.9
    assert inside(clips, PAIRS, motion).mean() > 75


def test_frames_in_any_order_do_not_tell_tempi_apart(clips):
    assert abs(blindly(clips, TEMPI) - 50) < 15  # 32 clips that are not the same frames: 8
    assert inside(clips, TEMPI, tempo).mean() > 80
