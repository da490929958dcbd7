"""`marey stop JOB`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipelines.shared_arguments import OfJobs, WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(OfJobs, WithJSON):
    """Stop a job of a cluster; what it finished is kept."""

    job: Positional[str]
    """Id of the job, as `marey jobs` lists it."""


def main(args: Args) -> int:
    """Stop the job and wait until it has ended."""
    import os

    from cluster import jobs
    from pipelines.text import show, to_json
    from pipelines.tracking import local_folder

    client = jobs.target(args.address, os.environ.get("RAY_ADDRESS"), local_folder()).client()
    job = jobs.stop(client, args.job)
    show(to_json(job) if args.json else f"job {job.job_id}: {job.status}")
    return 0
