"""Built-in videos: stick figures whose actions differ only in the order or the tempo of frames.

Most actions come in pairs of the same frames played forwards and backwards; the others in pairs that differ in speed or
repetition. The two members of a pair have the same person, place and camera, are in the same part, and are encoded
frame by frame with a constant quantiser: no single frame shows to which member it belongs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tasks.seeds import generator
from tasks.stickfigures import actions as motions
from tasks.stickfigures.body import person
from tasks.stickfigures.draw import Scene, photograph
from tasks.stickfigures.settings import FigureSettings
from tasks.video.codecs import write_mp4


@dataclass(frozen=True)
class Action:
    """A class of the built-in videos."""

    name: str
    twin: str
    """Name of the action that differs from this one in time alone."""
    motion: Callable[..., Scene]
    """(person, random numbers, time) -> scene."""
    reverses: bool = True
    """Whether the twin is this one played backwards, and not at another tempo."""
    backwards: bool = False
    """Whether this one is the motion played backwards."""
    sideways: bool = False
    """Whether the name is a direction in the picture, so that mirroring swaps the twins."""

    @property
    def partner(self) -> str | None:
        """Name of the action that is this one played backwards, if there is one."""
        return self.twin if self.reverses else None


def _reversed(name: str, twin: str, motion: Callable[..., Scene], *, sideways: bool = False) -> tuple[Action, Action]:
    return (
        Action(name, twin, motion, sideways=sideways),
        Action(twin, name, motion, backwards=True, sideways=sideways),
    )


def _tempo(slow: str, fast: str, motion: Callable[..., Scene], **tempo: tuple[float, float]) -> tuple[Action, Action]:
    ((name, (low, high)),) = tempo.items()
    return (
        Action(slow, fast, partial(motion, **{name: low}), reverses=False),
        Action(fast, slow, partial(motion, **{name: high}), reverses=False),
    )


def actions() -> list[Action]:
    """Return all classes: eight reversed pairs, and two pairs that differ in tempo."""
    return [
        *_reversed("walk_right", "walk_left", motions.walk, sideways=True),
        *_reversed("sit_down", "stand_up", motions.sit_down),
        *_reversed("raise_arms", "lower_arms", motions.raise_arms),
        *_reversed("open_door", "close_door", motions.open_door),
        *_reversed("push_box", "pull_box", motions.push_box),
        *_reversed("pick_up", "put_down", motions.pick_up),
        *_reversed("throw_ball", "catch_ball", motions.throw_ball),
        *_reversed("put_on_hat", "take_off_hat", motions.put_on_hat),
        *_tempo("wave_slow", "wave_fast", motions.wave, cycles=(1.0, 2.75)),
        *_tempo("jump_once", "jump_twice", motions.jump, times=(1, 2)),
    ]


@dataclass(frozen=True)
class FigureVideo:
    """A video to make."""

    label: str
    part: str
    person: int
    number: int
    """Number within its class; twins of the same number show the same scene."""

    @property
    def path(self) -> str:
        """Path below the root; twins differ in the class folder alone."""
        return f"{self.part}/{self.label}/person{self.person:03d}-clip{self.number:04d}.mp4"


def list_videos(settings: FigureSettings) -> list[FigureVideo]:
    """List the videos: each person of a part performs every action about equally often."""
    videos, first_person, first_clip = [], 0, 0
    for part, people, clips in (
        ("train", settings.train_people, settings.train_clips),
        ("val", settings.val_people, settings.val_clips),
        ("test", settings.test_people, settings.test_clips),
    ):
        for action in actions():
            videos += [
                FigureVideo(action.name, part, first_person + number % people, first_clip + number)
                for number in range(clips)
            ]
        first_person += people
        first_clip += clips
    return videos


def render(video: FigureVideo, settings: FigureSettings) -> np.ndarray:
    """Draw the frames of a video, uint8 RGB [T, size, size, 3], as a function of the arguments alone."""
    action = next(action for action in actions() if action.name == video.label)
    rng = generator(settings.seed, "scene", *sorted((action.name, action.twin)), video.number)
    mirrored = bool(rng.integers(2))
    who = person(settings.seed, video.person)
    scene = action.motion(who, rng, np.linspace(0, 1, settings.frames))
    images = photograph(scene, who, settings, rng, mirrored=mirrored)
    backwards = action.backwards != (action.sideways and mirrored)
    return np.ascontiguousarray(images[::-1]) if backwards else images


def write(video: FigureVideo, settings: FigureSettings, root: Path) -> Path:
    """Write a video as mp4 below `root`, in the layout `folder`, and return its path.

    Every frame is a key frame of the same quantiser, so that a reversed video decodes to exactly the reversed frames.
    """
    path = root / video.path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, render(video, settings), settings.fps, qp=settings.qp, keyframe_every=1)
    return path
