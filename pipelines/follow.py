"""A job's log on the terminal, up to the job's end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

INTERRUPTED = 130


def follow(client: JobSubmissionClient, job_id: str) -> int:
    """Print the log of a job from its start to its end, and return the job's exit code; Ctrl-C leaves it running."""
    from cluster import jobs
    from pipelines.text import printable

    try:
        job = jobs.follow(client, job_id, lambda text: (sys.stdout.write(text), sys.stdout.flush()))
    except KeyboardInterrupt:
        sys.stderr.write(f"\njob {job_id} goes on; `marey stop {job_id}` stops it\n")
        return INTERRUPTED
    reason = f", {printable(job.message)}" if job.message and job.exit_code is None else ""
    sys.stderr.write(f"job {job_id}: {job.status}{reason}; `marey logs {job_id}` prints its log again\n")
    return 1 if job.exit_code is None else job.exit_code
