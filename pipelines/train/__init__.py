"""`marey train`: Ray Train's workers around `tasks.learn.fit`."""

from pipelines.train.workflow import TrainResult as TrainResult
from pipelines.train.workflow import train as train
