"""`marey jobs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.shared_arguments import OfJobs, WithJSON

if TYPE_CHECKING:
    from cluster.jobs import Job


@dataclass(frozen=True, kw_only=True)
class Args(OfJobs, WithJSON):
    """List the jobs of a cluster, the oldest first."""


def main(args: Args) -> int:
    """Print one line per job."""
    import os

    from cluster import jobs
    from pipelines.text import columns, show, to_json
    from pipelines.tracking import local_folder

    found = jobs.jobs(jobs.target(args.address, os.environ.get("RAY_ADDRESS"), local_folder()).client())
    if args.json:
        show(to_json(found))
    elif found:
        show("\n".join(columns([("JOB", "STATUS", "STARTED", "TOOK", "EXIT", "COMMAND"), *map(row, found)])))
    else:
        print("no jobs yet; `marey submit -- VERB ARGS` starts one")
    return 0


def row(job: Job) -> tuple[str, ...]:
    """Return the cells of one job."""
    import datetime

    started = f"{datetime.datetime.fromtimestamp(job.started):%Y-%m-%d %H:%M:%S}" if job.started else "-"
    took = str(datetime.timedelta(seconds=round(job.seconds))) if job.seconds is not None else "-"
    code = "-" if job.exit_code is None else str(job.exit_code)
    return job.job_id, job.status, started, took, code, job.command
