"""The jobs of a Ray cluster: list, follow and stop them."""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster import dashboard, ray_internals, token
from cluster.errors import ClusterError
from cluster.waiting import waiting

if TYPE_CHECKING:
    from pathlib import Path

    from ray.job_submission import JobDetails, JobSubmissionClient

END_SECONDS = 90.0
"""Time that a job has to end once its log has, or once it is told to stop."""
JOB = "MAREY_JOB"
"""Variable with which a job knows its id."""
OF_RAY = re.compile(r"^(\d{4}-\d\d-\d\d \S+\s+INFO job_manager\.py:.*|Running entrypoint for job .*)\n", re.MULTILINE)
"""Lines of Ray at the head of a job's log."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Target:
    """A cluster that accepts jobs."""

    url: str
    """URL of its dashboard."""
    token: str | None
    local: bool
    """Whether `cluster up` started it in this workspace, so that it sees this machine's files."""

    def client(self) -> JobSubmissionClient:
        """Return a connected client.

        Raises:
            ClusterError: nothing answers there, it is not a Ray dashboard, or it refuses the token.
        """
        dashboard.get(self.url, "/api/version", self.token)
        client: JobSubmissionClient = ray_internals.job_client(self.url, token.header(self.token))
        for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)
        return client


@dataclass(frozen=True)
class Job:
    """A submitted job."""

    job_id: str
    command: str
    """The verb and its arguments as the user wrote them."""
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    started: float | None
    """Seconds since 1970."""
    seconds: float | None
    """Run time so far, or in all."""
    exit_code: int | None
    message: str
    submitted_by: str
    """`user@host`; empty for a job that another program has sent."""
    run: str
    """Names of the runs that it writes, with a comma between them; empty for a verb that writes none."""
    workspace: str
    """The workspace of the job; empty for one that has its own."""


def target(address: str | None, environment: str | None, workspace: Path) -> Target:
    """Return the cluster at the address given, else at RAY_ADDRESS, else the last one started by `cluster up`.

    Raises:
        ClusterError: there is none of the three, or the address is of another kind.
    """
    from cluster import local

    address = address or environment
    try:
        mine = local.current(workspace)
    except ClusterError:
        if address is None:
            raise
        mine = None
    if mine and address in (None, mine.address, mine.dashboard):
        return Target(mine.dashboard, mine.token, local=True)
    if address is None:
        raise ClusterError(
            "no cluster given: give --address, set RAY_ADDRESS, or start one here (`marey cluster up --local 2`)"
        )
    if address.startswith(("http://", "https://")):
        return Target(address.rstrip("/"), token.read(), local=False)
    if "://" in address or address in ("auto", "local"):
        raise ClusterError(f"{address} is not the address of a dashboard, which accepts jobs: give http://HEAD:8265")
    return Target(f"http://{address}", token.read(), local=False)


def jobs(client: JobSubmissionClient) -> list[Job]:
    """Return all submitted jobs, oldest first."""
    details = [each for each in client.list_jobs() if each.submission_id]
    return [_job(each) for each in sorted(details, key=lambda each: each.start_time or 0)]


def find(client: JobSubmissionClient, job_id: str) -> Job:
    """Return a job by its id.

    Raises:
        ClusterError: there is none of that id.
    """
    known = {job.job_id: job for job in jobs(client)}
    if job_id not in known:
        near = difflib.get_close_matches(job_id, known, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]!r}?" if near else "; `marey jobs` lists them"
        raise ClusterError(f"unknown job {job_id!r}{hint}")
    return known[job_id]


def log(client: JobSubmissionClient, job_id: str) -> str:
    """Return the log of a job so far.

    Raises:
        ClusterError: it cannot be read, as where the machine is gone that the job ran on.
    """
    try:
        return OF_RAY.sub("", client.get_job_logs(job_id))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-200:]
        raise ClusterError(
            f"the log of job {job_id} cannot be read ({reason}): see the machine that it ran on, if there still is one"
        ) from error


def follow(client: JobSubmissionClient, job_id: str, write: Callable[[str], object]) -> Job:
    """Pass the job's log to `write` as it grows, from its start to its end; return the ended job.

    Raises:
        ClusterError: the connection is lost, or the log ends long before the job.
    """

    import aiohttp

    try:
        with waiting("the job's first line") as said:
            asyncio.run(_tail(client, job_id, lambda text: (said(), write(text))))
    except (RuntimeError, aiohttp.ClientError) as error:
        raise ClusterError(
            f"lost the connection to job {job_id} ({error}); it may still run: see `marey jobs`"
        ) from error
    return wait(client, job_id)


async def _tail(client: JobSubmissionClient, job_id: str, write: Callable[[str], object]) -> None:
    async for text in client.tail_job_logs(job_id):
        if text := OF_RAY.sub("", text):
            write(text)


def stop(client: JobSubmissionClient, job_id: str) -> Job:
    """Stop a job, and return it once it has ended.

    Raises:
        ClusterError: there is no such job, or it had already ended.
    """
    job = find(client, job_id)
    if job.status in ENDED:
        raise ClusterError(f"job {job_id} has already ended: {job.status}")
    client.stop_job(job_id)
    return wait(client, job_id)


def wait(client: JobSubmissionClient, job_id: str) -> Job:
    """Return the job once it has ended, which the caller expects soon."""
    deadline = time.monotonic() + END_SECONDS
    with waiting(f"job {job_id} to end"):
        while (job := find(client, job_id)).status not in ENDED:
            if time.monotonic() > deadline:
                raise ClusterError(f"job {job_id} is still {job.status} after {END_SECONDS:.0f} s: see `marey jobs`")
            time.sleep(0.2)
    return job


def _job(details: JobDetails) -> Job:
    status, metadata = details.status.value, details.metadata or {}
    started = details.start_time / 1000 if details.start_time else None
    ended = details.end_time / 1000 if details.end_time else time.time()
    return Job(
        job_id=details.submission_id or "",
        command=metadata.get("command", details.entrypoint),
        status=status,
        started=started,
        seconds=None if started is None else max(0.0, ended - started),
        exit_code=details.driver_exit_code,
        message=(details.message or "").strip(),
        submitted_by=metadata.get("submitted_by", ""),
        run=metadata.get("run", ""),
        workspace=(details.runtime_env or {}).get("env_vars", {}).get("MAREY_WORK", ""),
    )
