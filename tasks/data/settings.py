"""Settings of preparation. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tasks.checks import above, at_least, floats, within
from tasks.video.settings import TVL1


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """How the videos of a source are found, and how many of them may fail."""

    layout: str = "folder"
    """Layout of the source."""
    group: str | None = None
    """Regular expression searched in a video's path; its first group names the video's group, such as a person."""
    group_column: str | None = None
    """Column of a CSV file that names the video's group."""
    max_failed: float = 0.05
    """Fraction of the videos that may fail before preparation ends with exit 3; 1.0 means never."""

    def __post_init__(self) -> None:
        within(self, 0, 1, "max_failed")
        if self.group is not None and self.group_column is not None:
            raise ValueError("group and group_column exclude each other: give one of them")


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """The settings that determine the bytes of a prepared dataset."""

    short_side: int = 256
    """Length in pixels to which the shorter side of the frames is resized."""
    decoder: Literal["auto", "pyav"] = "auto"
    """Who decodes: decord, and PyAV what decord cannot; or PyAV alone, with the newer FFmpeg."""
    flow: Literal["tvl1", "none"] = "tvl1"
    """Kind of optical flow to compute, or none."""
    flow_backend: Literal["native", "opencv", "torch"] = "native"
    """How to compute TV-L1: our CPU kernel; OpenCV, the reference, some 18 times slower; or torch, on GPUs."""
    flow_bound: float = 20.0
    """Flow is clipped to +- this many pixels per frame before it is quantised."""
    tvl1: TVL1 = field(default_factory=TVL1)
    """Parameters of TV-L1."""
    rgb: Literal["jpeg", "h264"] = "jpeg"
    """How to store frames: one JPEG each, or as H.264, which is smaller and slower to read."""
    rgb_quality: int = 95
    """JPEG quality of the frames, 1 to 100."""
    rgb_crf: int = 18
    """Constant rate factor of frames stored as H.264: 0 (lossless) to 51."""
    flow_quality: int = 95
    """JPEG quality of the quantised flow, 1 to 100."""
    shard_videos: int = 256
    """Videos per shard."""
    max_sample_frames: int = 1000
    """Frames per sample; a longer video is cut into consecutive pieces."""
    min_frames: int = 2
    """A video with fewer frames fails as too_short."""
    seed: int = 0
    """Seed for dealing videos to shards, and for the split if the source has none."""
    val_fraction: float = 0.15
    """Fraction of the videos in `val` if the source has no split."""
    test_fraction: float = 0.15
    """Fraction of the videos in `test` if the source has no split."""

    def __post_init__(self) -> None:
        floats(self)
        at_least(self, 16, "short_side")
        above(self, 0, "flow_bound")
        within(self, 1, 100, "rgb_quality", "flow_quality")
        within(self, 0, 51, "rgb_crf")
        at_least(self, 1, "shard_videos", "min_frames")
        at_least(self, 2, "max_sample_frames")
        within(self, 0, 1, "val_fraction", "test_fraction")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction leave no video for training: their sum must be below 1")

    @property
    def on_gpus(self) -> bool:
        """Whether a worker needs a GPU."""
        return self.flow == "tvl1" and self.flow_backend == "torch"
