"""`marey logs JOB`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pipelines.shared_arguments import OfJobs


@dataclass(frozen=True, kw_only=True)
class Args(OfJobs):
    """Print the log of a job.

    With -f the exit code is the job's, and Ctrl-C leaves the job running.
    """

    job: Positional[str]
    """Id of the job, as `marey jobs` lists it."""
    follow: Annotated[FlagCreatePairsOff[bool], arg(aliases=["-f"])] = False
    """Show what is added, until the job ends."""


def main(args: Args) -> int:
    """Print the log so far, or all of it as it grows."""
    import os
    import sys

    from cluster import jobs
    from pipelines.follow import follow
    from pipelines.tracking import local_folder

    client = jobs.target(args.address, os.environ.get("RAY_ADDRESS"), local_folder()).client()
    job = jobs.find(client, args.job)
    if args.follow:
        return follow(client, job.job_id)
    sys.stdout.write(jobs.log(client, job.job_id))
    return 0
