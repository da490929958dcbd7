"""`marey run`: a recipe's whole workflow, on its own split or on every split."""

from pipelines.run.every_split import AverageResult as AverageResult
from pipelines.run.every_split import average as average
from pipelines.run.one_recipe import RunResult as RunResult
from pipelines.run.one_recipe import run as run
