"""Description of a network: its paper, how its clips are cut, how it is tested, what is published about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SMALLEST = 32
"""Smallest height and width of a clip in pixels, of which four stages leave one position."""


@dataclass(frozen=True, kw_only=True)
class ReferenceCost:
    """The view for which size and cost are compared, with the figures of the paper or of public tables."""

    classes: int
    frames: int
    size: int
    """Height and width in pixels."""
    parameters_m: float | None = None
    """Millions of parameters; None where nothing is published."""
    gmacs: float | None = None
    """Billions of multiply-accumulates, batch norm counted as 2 per output element."""


@dataclass(frozen=True, kw_only=True)
class PublishedAccuracy:
    """An accuracy published by others. Ours are in docs/results.md, with the command that gave them."""

    data: str
    top1_percent: float
    top5_percent: float | None = None
    mean_class_percent: float | None = None
    condition: str = ""
    """Frames, initial weights and views, as far as the source states them; they must be the same for a comparison."""


STREAM_CLIP: Mapping[str, Mapping[str, Any]] = {
    "rgb": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "flow": {"snippet": 5, "mean": (0.5,), "std": (0.226,), "scales": (1.0, 0.875, 0.75)},
}
"""Clips by stream in the TSN protocol (docs/papers/tsn-protocol.md, section 2): flow has 5 pairs per segment and three
scales of crops."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """One network and its published protocol."""

    name: str
    factory: str
    """`module:Class` of the `models.common.network.Network`, whose `create` makes it."""
    title: str
    paper: str
    streams: tuple[str, ...] = ("rgb", "flow")
    clip: Mapping[str, Any]
    """How training clips of any stream are cut: fields of `tasks.clips.ClipSettings` and their values. A field that is
    left out keeps its default there."""
    stream_clip: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: STREAM_CLIP)
    """The same by stream, for what differs between streams."""
    test_segments: int
    """K segments (T) of a test clip."""
    test_snippet: dict[str, int] | None = None
    """Items per segment of a test clip where they differ: STIN's pairs of frames are for training."""
    components: tuple[str, ...] = ()
    """Networks that this one consists of; they are trained one by one."""
    clips: int
    """Clips per video in the published N-view protocol."""
    crops: int
    """Crops per clip in the published N-view protocol."""
    clip_starts: Literal["even", "random"] = "even"
    """Where a video's clips start in that protocol: evenly spread, or drawn with a fixed seed."""
    test_size: int | None = None
    """Height and width of clips in that protocol where they differ from training's 224."""
    score_space: Literal["logits", "softmax"]
    """What is averaged over views."""
    cost: ReferenceCost
    accuracy: tuple[PublishedAccuracy, ...] = ()

    def training_clip(self, stream: str) -> dict[str, Any]:
        """Return the fields of a training clip of `rgb` or `flow`."""
        return {**self.clip, **self.stream_clip[stream]}
