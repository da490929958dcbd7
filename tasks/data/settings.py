"""Settings of preparation; standard library only."""

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
    shard_videos: int = 256
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
        at_least(self, 1, "shard_videos", "min_frames")
        at_least(self, 2, "max_sample_frames")
        within(self, 0, 1, "val_fraction", "test_fraction")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction leave nothing to train on: their sum must be below 1")

    @property
    def on_gpus(self) -> bool:
        """Whether a worker needs a GPU."""
        return self.flow == "tvl1" and self.flow_backend == "torch"
