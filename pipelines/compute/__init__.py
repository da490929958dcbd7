"""Helpers of all workflows: the capacity of the cluster, a bounded number of Ray calls at once, a progress bar."""

from pipelines.compute.bounded import bounded as bounded
from pipelines.compute.progress import Progress as Progress
