"""`marey prepare`: from source videos to shards, one Ray task per video."""

from pipelines.prepare.workflow import PrepareResult as PrepareResult
from pipelines.prepare.workflow import prepare as prepare
