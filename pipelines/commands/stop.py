"""`marey stop JOB`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Stop a job of a cluster; what it finished is kept."""

    job: Positional[str]
    """Id of the job, as `marey jobs` lists it."""
    address: str | None = None
    """Where the cluster takes jobs, http://HEAD:8265; by default RAY_ADDRESS, else the last `marey cluster up`."""


def main(args: Args) -> int:
    """Stop the job and wait until it has ended."""
    import os

    from cluster import jobs
    from pipelines.tracking import workspace

    client = jobs.target(args.address, os.environ.get("RAY_ADDRESS"), workspace()).client()
    job = jobs.stop(client, args.job)
    print(f"job {job.job_id}: {job.status}")
    return 0
