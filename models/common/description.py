"""What is said of a network: its paper, how its clips are cut, how it is tested, what is published for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


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


@dataclass(frozen=True, kw_only=True)
class Description:
    """One network and its published protocol."""

    name: str
    factory: str
    """`module:Class` of the `models.common.network.Network`, whose `create` makes it."""
    title: str
    paper: str
    streams: tuple[str, ...] = ("rgb", "flow")
    sampling: Literal["segments", "dense"] = "segments"
    """TSN segments, or consecutive frames at a stride."""
    stride: int = 1
    """Distance of two frames of a dense clip."""
    short: Literal["clamp", "loop"] = "clamp"
    """What a dense clip longer than its video does: repeat the last frame, or start again."""
    segments: int
    """K segments (T) of a training clip."""
    test_segments: int
    """K segments (T) of a test clip."""
    snippet: dict[str, int] = field(default_factory=lambda: {"rgb": 1, "flow": 5})
    """L consecutive items a segment, by stream: frames of rgb, pairs of flow."""
    test_snippet: dict[str, int] | None = None
    """L of a test clip where it differs: STIN's pairs of frames are for training."""
    snippet_step: int = 1
    """Distance of two items of a snippet."""
    target: Literal["none", "flow"] = "none"
    """What a training clip brings for `losses` beside its label: the flow between the frames of each pair."""
    parts: tuple[str, ...] = ()
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
    mean: dict[str, tuple[float, ...]] = field(default_factory=lambda: {"rgb": (0.485, 0.456, 0.406), "flow": (0.5,)})
    """Subtracted from values in [0, 1], by stream: one a colour, or one for all channels."""
    std: dict[str, tuple[float, ...]] = field(default_factory=lambda: {"rgb": (0.229, 0.224, 0.225), "flow": (0.226,)})
    """Divided by after `mean`, by stream."""
    cost: ReferenceCost
    accuracy: tuple[PublishedAccuracy, ...] = ()
