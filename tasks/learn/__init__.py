"""The training loop, checkpoints and scoring: torch only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.lazy import importer

if TYPE_CHECKING:
    from tasks.learn.batch import Batch as Batch
    from tasks.learn.checkpoint import Identity as Identity
    from tasks.learn.checkpoint import load_weights as load_weights
    from tasks.learn.checkpoint import read_identity as read_identity
    from tasks.learn.divergence import DivergedError as DivergedError
    from tasks.learn.loop import Report as Report
    from tasks.learn.loop import fit as fit
    from tasks.learn.score import Metrics as Metrics
    from tasks.learn.score import measure as measure
    from tasks.learn.settings import TrainSettings as TrainSettings

_MODULES = {
    "Batch": "batch",
    "DivergedError": "divergence",
    "Identity": "checkpoint",
    "Metrics": "score",
    "Report": "loop",
    "TrainSettings": "settings",
    "fit": "loop",
    "load_weights": "checkpoint",
    "measure": "score",
    "read_identity": "checkpoint",
}
__all__ = sorted(_MODULES)
__getattr__ = importer(__name__, _MODULES)
