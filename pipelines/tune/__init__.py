"""`marey tune`: Ray Tune over a recipe's search space."""

from pipelines.tune.outcome import TrialOutcome as TrialOutcome
from pipelines.tune.workflow import TuneResult as TuneResult
from pipelines.tune.workflow import tune as tune
