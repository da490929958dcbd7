"""Settings of reading clips; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.checks import at_least, ordered, within

RAND_OPERATIONS = 18
"""Operations that RandAugment chooses from."""
RAND_MAGNITUDE = 30
"""Largest magnitude of RandAugment."""


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How a clip is cut from a sample, and changed in training.

    The only declaration of these fields: a network's description and a recipe's `input` are sets of them, checked by
    this class.
    """

    stream: Literal["rgb", "flow"] = "rgb"
    sampling: Literal["segments", "dense"] = "segments"
    """One snippet from each of `segments` equal parts of the video, as in TSN, or that many frames at a stride."""
    segments: int = 8
    """Number of segments K, or of frames T when dense."""
    snippet: int = 1
    """Consecutive frames or flow pairs per segment, L."""
    snippet_step: int = 1
    """Distance between two items of a snippet."""
    stride: int = 1
    """Distance between two frames when dense."""
    short: Literal["clamp", "loop"] = "clamp"
    """Where a dense clip is longer than its video: repeat the last frame, or start again."""
    target: Literal["none", "flow"] = "none"
    """What a training clip carries besides its label: the flow between the two frames of each segment (snippet 2)."""
    size: int = 224
    """Height and width of a clip in pixels."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Subtracted from values in [0, 1]: one per colour (rgb), or one for all channels (flow)."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Divided by after `mean`."""
    crop: Literal["scales", "anywhere", "area"] = "scales"
    """How a training crop is drawn: sides from `scales` at fixed places, as in TSN, or at any place (`anywhere`); any
    `area` and `aspect` at any place, as in Inception (RandomResizedCrop)."""
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Sides of the training crop, as fractions of the frame's shorter side; a single one is a region of fixed size."""
    max_distort: int = 1
    """How many places of `scales` the width and the height of a crop may lie apart; 0 crops squares."""
    area: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area of the training crop `area`, as fractions of the frame."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height of the training crop `area`."""
    flip: float = 0.5
    """Probability of a horizontal flip in training (x-flow is inverted with it)."""
    color: float = 0.0
    """Strength of the colour change of rgb clips in training, 0 to 1; 0 is none, as in TSN. It helps where few people,
    in few clothes and lights, stand for all."""
    color_jitter: float = 0.0
    """Strength of TPN's changes of brightness, contrast, saturation and hue of rgb clips in training; 1 is its own."""
    degrade: float = 0.0
    """Probability that an rgb clip is degraded in training as in MTNet's code: blur, noise, colours, a slight turn."""
    rand_augment: int = 0
    """Operations of RandAugment on each rgb clip in training; 0 is none."""
    rand_magnitude: float = 9.0
    """Magnitude of these operations, 0 to 30."""
    erase: float = 0.0
    """Probability that a random rectangle of an rgb clip is erased in training, in all its frames."""
    seed: int = 0
    """Decides what is drawn in training, with the epoch and the video."""

    def __post_init__(self) -> None:
        for name in ("mean", "std", "scales", "area", "aspect"):  # lists where they are read from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        at_least(self, 1, "segments", "snippet", "snippet_step", "stride", "size")
        at_least(self, 0, "max_distort")
        within(self, 0, 1, "flip", "color", "color_jitter", "degrade", "erase")
        within(self, 0, RAND_OPERATIONS, "rand_augment")
        within(self, 0, RAND_MAGNITUDE, "rand_magnitude")
        ordered(self, "area", "aspect")
        if self.area[1] > 1:
            raise ValueError(f"area must be at most 1, not {self.area[1]}")
