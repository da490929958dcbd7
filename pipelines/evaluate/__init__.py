"""`marey evaluate`: a run's scores on a dataset by one view and by many, and several runs fused."""

from pipelines.evaluate.fusion import FusedResult as FusedResult
from pipelines.evaluate.fusion import evaluate_together as evaluate_together
from pipelines.evaluate.fusion import fuse as fuse
from pipelines.evaluate.result import EvaluateResult as EvaluateResult
from pipelines.evaluate.workflow import evaluate as evaluate
