"""`marey tune`: Ray Tune over a recipe's search space."""

from pipelines.tune.workflow import TuneResult as TuneResult
from pipelines.tune.workflow import tune as tune
