"""Ray at work: what the cluster has, many calls of a task with few at a time, progress on the terminal."""

from pipelines.compute.bounded import bounded as bounded
from pipelines.compute.progress import Progress as Progress
