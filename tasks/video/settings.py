"""Settings of optical flow. Standard library only, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.checks import above, at_least, floats


@dataclass(frozen=True, kw_only=True)
class TVL1:
    """Parameters of dual TV-L1 optical flow (Zach, Pock, Bischof 2007), with OpenCV's defaults."""

    tau: float = 0.25
    """Time step of the dual update."""
    lambda_: float = 0.15
    """Weight of the data term; a smaller one gives smoother flow."""
    theta: float = 0.3
    """Tightness of the coupling between the flow and its auxiliary field."""
    scales: int = 5
    """Levels of the image pyramid."""
    warps: int = 5
    """Warps per level; fewer are faster and less exact."""
    epsilon: float = 0.01
    """Stopping threshold of the inner iterations."""
    inner_iterations: int = 30
    """Primal-dual iterations per median filter."""
    outer_iterations: int = 10
    """Rounds of inner iterations per warp."""
    scale_step: float = 0.8
    """Size of a pyramid level relative to the one below."""
    median: int = 5
    """Window of the median filter in pixels: 1 (off), 3 or 5."""

    def __post_init__(self) -> None:
        floats(self)
        above(self, 0, "tau", "lambda_", "theta", "epsilon")
        at_least(self, 1, "scales", "warps", "inner_iterations", "outer_iterations")
        if not 0 < self.scale_step < 1:
            raise ValueError(f"scale_step must be between 0 and 1, not {self.scale_step}")
        if self.median not in (1, 3, 5):
            raise ValueError(f"median must be 1, 3 or 5, not {self.median}")
