"""`marey train`: `tasks.learn.fit` on the workers of Ray Train."""

from pipelines.train.workflow import TrainResult as TrainResult
from pipelines.train.workflow import train as train
