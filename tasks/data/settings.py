"""Settings of preparation and of reading clips; standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tasks.checks import above, at_least, within
from tasks.video.settings import TVL1


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What decides the bytes of a prepared dataset."""

    short_side: int = 256
    """Frames are resized so that their shorter side has this many pixels."""
    flow: Literal["tvl1", "none"] = "tvl1"
    """Optical flow to compute, or none."""
    flow_backend: Literal["native", "opencv", "torch"] = "native"
    """TV-L1 by our kernel for CPUs; by OpenCV, the reference, some 18 times slower; or on GPUs, in batches."""
    flow_bound: float = 20.0
    """Flow is clipped to +- this many pixels a frame before it is quantised."""
    tvl1: TVL1 = field(default_factory=TVL1)
    """Parameters of TV-L1."""
    rgb: Literal["jpeg", "h264"] = "jpeg"
    """How frames are stored: a JPEG each, or as H.264, which is smaller and takes longer to read."""
    rgb_quality: int = 95
    """JPEG quality of frames, 1 to 100."""
    rgb_crf: int = 18
    """Constant rate factor of frames stored as H.264: 0 (lossless) to 51."""
    flow_quality: int = 95
    """JPEG quality of quantised flow, 1 to 100."""
    shard_samples: int = 256
    """Videos a shard."""
    max_sample_frames: int = 1000
    """A longer video becomes several consecutive samples."""
    min_frames: int = 2
    """A video with fewer frames is a failed record (too_short)."""
    seed: int = 0
    """Decides which video goes into which shard, and the split where the source brings none."""
    val_fraction: float = 0.15
    """Share of the videos in `val` where the source brings no split."""
    test_fraction: float = 0.15
    """Share of the videos in `test` where the source brings no split."""

    def __post_init__(self) -> None:
        at_least(self, 16, "short_side")
        above(self, 0, "flow_bound")
        within(self, 1, 100, "rgb_quality", "flow_quality")
        within(self, 0, 51, "rgb_crf")
        at_least(self, 1, "shard_samples", "min_frames")
        at_least(self, 2, "max_sample_frames")
        within(self, 0, 1, "val_fraction", "test_fraction")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction leave nothing to train on: their sum must be below 1")

    @property
    def on_gpus(self) -> bool:
        """Whether a worker needs a GPU."""
        return self.flow == "tvl1" and self.flow_backend == "torch"


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
