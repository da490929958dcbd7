"""`marey jobs`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipelines.shared_arguments import OfJobs, WithJSON

if TYPE_CHECKING:
    from cluster.jobs import Job
    from pipelines.tracking.progress import Report

HEAD = ("JOB", "STATUS", "STARTED", "TOOK", "EXIT", "RUN", "PROGRESS", "BY", "COMMAND")
READ_SECONDS = 3.0
"""Time that a workspace has to answer."""


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
    progress = [progress_of(job) for job in found]
    if args.json:
        show(to_json([{**asdict(job), "progress": done or None} for job, done in zip(found, progress, strict=True)]))
    elif found:
        show("\n".join(columns([HEAD, *map(row, found, progress)])))
    else:
        print("no jobs yet; `marey submit -- VERB ARGS` starts one")
    return 0


def row(job: Job, progress: str = "") -> tuple[str, ...]:
    """Return the cells of one job."""
    import datetime

    started = f"{datetime.datetime.fromtimestamp(job.started):%Y-%m-%d %H:%M:%S}" if job.started else "-"
    took = str(datetime.timedelta(seconds=round(job.seconds))) if job.seconds is not None else "-"
    code = "-" if job.exit_code is None else str(job.exit_code)
    named = (job.run or "-", progress or "-", job.submitted_by or "-")
    return job.job_id, job.status, started, took, code, *named, job.command


def progress_of(job: Job) -> str:
    """Return how far a job is; empty where it has not said, or its workspace cannot be read from here."""
    from pipelines.errors import UserError
    from pipelines.tracking import RunFolder
    from pipelines.tracking.progress import last_report, of_job
    from tasks.remote import LateError, within

    if not (job.workspace and job.started is not None and job.seconds is not None):
        return ""
    begin, end = job.started, job.started + job.seconds
    trainings = [RunFolder.of(name, job.workspace).progress for name in job.run.split(", ") if name]
    reports = []
    for address in (of_job(job.job_id, job.workspace), *trainings):
        try:
            reports.append(within(READ_SECONDS, lambda: last_report(address, begin, end)))  # noqa: B023 - called at once
        except (LateError, UserError, OSError, ValueError):  # the list of jobs does not depend on a workspace
            return ""
    newest = max((report for report in reports if report), key=lambda report: float(report["time"]), default=None)
    return words_of(newest) if newest else ""


def words_of(report: Report) -> str:
    """Return how much is done, in words."""
    from pipelines.train.console import epoch_words

    return f"{report['done']} of {report['total']} {report['unit']}" if "done" in report else epoch_words(report)
