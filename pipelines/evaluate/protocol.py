"""Which clips of a video are scored: by one view, and as the network's paper does or the settings say."""

from __future__ import annotations

from dataclasses import dataclass

from models import Description
from pipelines.recipe import EvaluateSettings, published_clip
from tasks.clips import ClipSettings
from tasks.words import counted


@dataclass(frozen=True)
class Protocol:
    """Which clips of a video are scored and averaged."""

    clips: int
    crops: int
    segments: int
    size: int
    trained_size: int
    stride: int | None = None
    """Distance between two frames of a dense clip."""
    seed: int | None = None
    """Seed that the clips are drawn with; None spreads them evenly."""

    @property
    def views(self) -> int:
        """Number of views per video."""
        return self.clips * self.crops

    def __str__(self) -> str:
        random = "random " if self.seed is not None else ""
        crops = "centre crop" if self.crops == 1 else counted(self.crops, "crop")
        parts = "segments" if self.stride is None else f"frames at stride {self.stride}"
        pixels = f", {self.size} pixels" if self.size != self.trained_size else ""
        return f"{counted(self.clips, f'{random}clip')} x {crops}, {self.segments} {parts}{pixels}"


def protocols(network: Description, settings: EvaluateSettings, clip: ClipSettings) -> list[Protocol]:
    """Return the 1-view protocol of a clip and, where it is another, that of the settings or the network's paper."""
    # A recipe that trains on other than the published number of segments is tested on its own number too.
    published = published_clip(network, clip.stream)
    as_published = (clip.sampling, clip.segments) == (published.sampling, published.segments)
    segments = settings.segments or (network.test_segments if as_published else clip.segments)
    size = settings.size or (network.test_size if clip.size == published.size else None) or clip.size
    stride = clip.stride if clip.sampling == "dense" else None
    clips, crops = settings.clips or network.clips, settings.crops or network.crops
    drawn = clips > 1 and (settings.clip_starts or network.clip_starts) == "random"
    one = Protocol(1, 1, clip.segments, clip.size, clip.size, stride)
    many = Protocol(clips, crops, segments, size, clip.size, stride, settings.seed if drawn else None)
    return [many] if many.views == 1 else [one, many]
