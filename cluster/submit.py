"""Send a command line of marey to a cluster, as a Ray job."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.attach import ROOT, inherited
from cluster.errors import ClusterError
from cluster.jobs import Target

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGES = ("models", "tasks", "pipelines", "cluster")
SURFACE = "marey.py"
STOP_SECONDS = 75.0
"""Time that a stopped job has to end by itself, as a training does with a checkpoint; Ray's default is 3 s."""
LARGEST_FILE = 10 * 2**20
"""Size in bytes of the largest file that is sent along; Ray keeps what is sent in the memory of the head."""


def submit(
    client: JobSubmissionClient,
    target: Target,
    words: Sequence[str],
    environment: dict[str, str],
    shared: Sequence[str] = (),
) -> str:
    """Start `python -m pipelines WORDS` on the cluster and return the job's id.

    Our packages are sent, and win over installed ones. Where the cluster sees the current folder, the job runs in it,
    so that every relative path means the same; elsewhere the files named in `words` are sent too.

    Args:
        client: client of the cluster.
        target: the same cluster.
        words: a verb and its arguments.
        environment: environment variables of the job.
        shared: folders that the cluster's machines see at the same path.

    Raises:
        ClusterError: an argument names a local folder or a large file that the cluster does not see.
    """
    job_id = f"{words[0]}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    seen = _seen(target, shared)
    with tempfile.TemporaryDirectory(prefix="marey-submit-") as name:
        stage = Path(name)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, stage / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        shutil.copy(ROOT / SURFACE, stage)
        here = Path.cwd()
        visible = sees_folder(target, shared)
        sent = list(words) if visible else [send(word, stage, seen) for word in words]
        # -P: the code comes from what was sent (PYTHONPATH), not from the folder the job runs in.
        entrypoint = shlex.join(["python", "-P", "-m", "pipelines", *sent])
        return client.submit_job(
            entrypoint=f"cd {shlex.quote(str(here))} && exec {entrypoint}" if visible else entrypoint,
            submission_id=job_id,
            runtime_env={"working_dir": str(stage), "env_vars": environment},
            metadata={"job_name": words[0], "command": shlex.join(words)},  # the name is for the dashboard
        )


def sees_folder(target: Target, shared: Sequence[str] = ()) -> bool:
    """Return whether the cluster sees the current folder, so that a job can run in it."""
    return _below(Path.cwd(), _seen(target, shared))


def forwarded(workspace: str) -> dict[str, str]:
    """Return the variables of a job: the workspace and the address of MLflow, absolute, and the time it has to end."""
    variables = {"MAREY_WORK": workspace, "RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_SECONDS:.0f}", **inherited()}
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", uri)
        variables["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(match[1]).absolute()}" if match else uri
    return variables


def send(word: str, stage: Path, seen: Sequence[Path]) -> str:
    """Return what the job gets for a word; a file that it names is copied to `stage`.

    `--flag=PATH` and `--set field=PATH` also name a path.

    Args:
        word: one argument.
        stage: the folder that is sent, in which the job runs.
        seen: folders that the cluster sees.

    Raises:
        ClusterError: it names a local folder or a large file that the cluster does not see.
    """
    head, equals, value = word.rpartition("=")
    if "://" in value or not value or not os.path.exists(value):
        return word
    path = Path(value).expanduser().absolute()
    if _below(path, seen):
        return f"{head}{equals}{path}"
    if path.is_dir():
        raise ClusterError(
            f"the cluster does not see the folder {value} of this machine: give a URL (s3://...), or a folder that "
            f"both see (`--shared {path}`)"
        )
    if path.stat().st_size > LARGEST_FILE:
        raise ClusterError(
            f"{value} must have at most {LARGEST_FILE // 2**20} MiB to be sent with a job: put it where the cluster "
            "sees it, and give its URL, or its folder with `--shared`"
        )
    folder = Path(tempfile.mkdtemp(prefix="sent-", dir=stage))
    shutil.copy(path, folder)
    return f"{head}{equals}{folder.name}/{path.name}"


def _seen(target: Target, shared: Sequence[str]) -> list[Path]:
    return [Path("/")] if target.local else [Path(folder).expanduser().absolute() for folder in shared]


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
