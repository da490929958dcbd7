"""The training loop, checkpoints and scoring: torch only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.learn.batch import Batch as Batch
    from tasks.learn.checkpoint import Identity as Identity
    from tasks.learn.checkpoint import load_weights as load_weights
    from tasks.learn.checkpoint import read_identity as read_identity
    from tasks.learn.loop import Progress as Progress
    from tasks.learn.loop import fit as fit
    from tasks.learn.score import Metrics as Metrics
    from tasks.learn.score import measure as measure
    from tasks.learn.settings import TrainSettings as TrainSettings

_HOME = {
    "Batch": "batch",
    "Identity": "checkpoint",
    "Metrics": "score",
    "Progress": "loop",
    "TrainSettings": "settings",
    "fit": "loop",
    "load_weights": "checkpoint",
    "measure": "score",
    "read_identity": "checkpoint",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
