"""Settings of the built-in videos. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FigureSettings:
    """Number, people and looks of the built-in videos. The defaults make a handful for tests."""

    train_clips: int = 4
    """Videos per class in `train`."""
    val_clips: int = 1
    """Videos per class in `val`."""
    test_clips: int = 2
    """Videos per class in `test`."""
    train_people: int = 2
    """People in `train`; nobody appears in two parts."""
    val_people: int = 1
    test_people: int = 1
    size: int = 64
    """Height and width of a frame in pixels; even, as the codec requires."""
    frames: int = 16
    """Frames per video. Fast actions repeat every 5.5 frames of 16, so that fewer than 12 hardly show them."""
    fps: int = 8
    clutter: float = 1.0
    """How busy the background is: 0 is a plain wall."""
    shake: float = 1.0
    """Camera shake: typical displacement in percent of the frame's height."""
    noise: float = 4.0
    """Sensor noise: standard deviation in grey levels."""
    qp: int = 20
    """Constant quantiser of the encoder, 0 (lossless) to 51."""
    seed: int = 0

    @classmethod
    def demo(cls) -> FigureSettings:
        """Return the settings of `marey demo`."""
        return cls(
            train_clips=32,
            val_clips=4,
            test_clips=16,
            train_people=32,
            val_people=4,
            test_people=16,
            clutter=0.25,
            noise=3.0,
        )
