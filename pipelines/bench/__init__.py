"""`marey bench`: what limits trainings on this machine, the loader or the network."""

from pipelines.bench.loader import LoaderSpeed as LoaderSpeed
from pipelines.bench.loader import bench_loader as bench_loader
from pipelines.bench.step import StepSpeed as StepSpeed
from pipelines.bench.step import bench_step as bench_step
