"""Settings of reading clips; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.checks import at_least, within


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How a clip is cut from a sample. Filled from the network's description and the recipe."""

    stream: Literal["rgb", "flow"] = "rgb"
    sampling: Literal["segments", "dense"] = "segments"
    """TSN segments, or consecutive frames at a stride."""
    segments: int = 8
    """K segments (or T frames, when dense)."""
    snippet: int = 1
    """L consecutive items a segment: 1 frame, or 5 flow pairs."""
    snippet_step: int = 1
    """Distance of two items of a segment."""
    stride: int = 1
    """Distance of two frames when dense."""
    short: Literal["clamp", "loop"] = "clamp"
    """What a dense clip longer than its video does: repeat the last frame, or start again."""
    target: Literal["none", "flow"] = "none"
    """What a training clip brings beside its label: the flow between the two neighbouring frames (snippet 2) of each
    segment."""
    size: int = 224
    """Height and width of the clip in pixels."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Subtracted from values in [0, 1], one a colour (rgb) or one for all (flow)."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Relative sizes of the multi-scale training crop."""
    max_distort: int = 1
    """Largest difference of the indices of width and height among the scales."""
    flip: float = 0.5
    """Probability of a horizontal flip in training (x-flow is inverted with it)."""
    color: float = 0.0
    """Strength of the colour change in training, of rgb alone; 0 is none, as in TSN."""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "segments", "snippet", "snippet_step", "stride", "size")
        within(self, 0, 1, "flip", "color")
