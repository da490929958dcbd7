"""What is said of a network: its paper, how its clips are cut, how it is tested, what is published for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class ReferenceCost:
    """The view at which size and cost are compared, and what the paper or its public tables print for it."""

    classes: int
    frames: int
    size: int
    """Height and width in pixels."""
    parameters_m: float | None = None
    """Millions of parameters; None where nothing is published."""
    gmacs: float | None = None
    """Billions of multiply-accumulates, batch norm counted as 2 an output element."""


@dataclass(frozen=True, kw_only=True)
class PublishedAccuracy:
    """An accuracy that others printed. Ours stand in docs/results.md, with the command that gave them."""

    data: str
    top1_percent: float
    top5_percent: float | None = None
    mean_class_percent: float | None = None
    condition: str
    """Frames, start weights, views: what must be the same for a comparison."""


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
    left out has its default there."""
    stream_clip: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: STREAM_CLIP)
    """The same by stream, where streams differ."""
    test_segments: int
    """K segments (T) of a test clip."""
    test_snippet: dict[str, int] | None = None
    """L of a test clip where it differs: STIN's pairs of frames are for training."""
    components: tuple[str, ...] = ()
    """Networks that this one is put together from; it is trained by them."""
    clips: int
    """Clips a video of the published N-view protocol."""
    crops: int
    """Crops a clip of the published N-view protocol."""
    clip_starts: Literal["even", "random"] = "even"
    """Starts of a video's several clips in that protocol: evenly spread, or drawn with a fixed seed."""
    test_size: int | None = None
    """Height and width of the clips of that protocol where they are not those of training, 224."""
    score_space: Literal["logits", "softmax"]
    """What is averaged over views."""
    cost: ReferenceCost
    accuracy: tuple[PublishedAccuracy, ...] = ()

    def training_clip(self, stream: str) -> dict[str, Any]:
        """Return the fields of a training clip of `rgb` or `flow`."""
        return {**self.clip, **self.stream_clip[stream]}
