"""Send a command line of marey to a cluster, as a Ray job."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.attach import ROOT, inherited
from cluster.errors import ClusterError
from cluster.jobs import JOB, Target

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGES = ("models", "tasks", "pipelines", "cluster")
TRAIN_STATE = "RAY_TRAIN_ENABLE_STATE_TRACKING"
"""Variable with which a dashboard knows trainings and their workers: `/api/train/v2/runs/v1`."""
SURFACE = "marey.py"
STOP_SECONDS = 75.0
"""Time that a stopped job has to end by itself, as a training does with a checkpoint; Ray's default is 3 s."""
LARGEST_FILE = 10 * 2**20
"""Size in bytes of the largest file that is sent along; Ray keeps what is sent in the memory of the head."""
LARGEST_PACKAGE = 64 * 2**20
"""Size in bytes of all that is sent; our code has 3 MB."""
LEFT_OUT = ("__pycache__", "*.pyc", ".*", "venv", "marey-work", "mlruns")
"""Names of what may lie among our code and is none of it: caches, environments, runs."""


def submit(
    client: JobSubmissionClient,
    target: Target,
    words: Sequence[str],
    environment: dict[str, str],
    shared: Sequence[str] = (),
    *,
    paths: Mapping[int, str],
    run: str = "",
) -> str:
    """Start `python -m pipelines WORDS` on the cluster and return the job's id.

    Our packages are sent, and win over installed ones. Where the cluster sees the current folder, the job runs in it,
    so that every relative path means the same; elsewhere the files named in `words` are sent too. The dashboard knows
    the trainings of the job.

    Args:
        client: client of the cluster.
        target: the same cluster.
        words: a verb and its arguments.
        environment: environment variables of the job.
        shared: folders that the cluster's machines see at the same path.
        paths: numbers of the words that name a file or folder of this machine, and the part of each that does.
        run: names of the runs that the job writes.

    Raises:
        ClusterError: an argument names a local folder or a large file that the cluster does not see, or what would be
            sent is too large.
    """
    job_id = f"{words[0]}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    seen = seen_folders(target, shared)
    with tempfile.TemporaryDirectory(prefix="marey-submit-") as name:
        stage = Path(name)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, stage / package, ignore=shutil.ignore_patterns(*LEFT_OUT))
        shutil.copy(ROOT / SURFACE, stage)
        here = Path.cwd()
        visible = sees_folder(target, shared)
        sent = list(words)
        if not visible:
            for number, path in paths.items():
                sent[number] = send(words[number], path, stage, seen)
        refuse_large(stage)
        # -P: the code comes from what was sent (PYTHONPATH), not from the folder the job runs in.
        entrypoint = shlex.join(["python", "-P", "-m", "pipelines", *sent])
        return client.submit_job(
            entrypoint=f"cd {shlex.quote(str(here))} && exec {entrypoint}" if visible else entrypoint,
            submission_id=job_id,
            runtime_env={"working_dir": str(stage), "env_vars": {**environment, JOB: job_id}},
            metadata={
                "job_name": f"{words[0]} {run}".rstrip(),  # in the dashboard's list
                "command": shlex.join(words),
                "submitted_by": _submitter(),
                "run": run,
            },
        )


def sees_folder(target: Target, shared: Sequence[str] = ()) -> bool:
    """Return whether the cluster sees the current folder, so that a job can run in it."""
    return _below(Path.cwd(), seen_folders(target, shared))


def forwarded(workspace: str) -> dict[str, str]:
    """Return a job's variables: workspace and MLflow's address, absolute, its time to end, what Ray knows of it."""
    variables = {"MAREY_WORK": workspace, "RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_SECONDS:.0f}", **inherited()}
    variables[TRAIN_STATE] = os.environ.get(TRAIN_STATE, "1")
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", uri)
        variables["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(match[1]).absolute()}" if match else uri
    return variables


def send(word: str, value: str, stage: Path, seen: Sequence[Path]) -> str:
    """Return what the job gets for a word that names a file or folder of this machine; a file is copied to `stage`.

    Args:
        word: one argument, such as `--flag=PATH`.
        value: the path at its end.
        stage: the folder that is sent, in which the job runs.
        seen: folders that the cluster sees.

    Raises:
        ClusterError: it names a local folder or a large file that the cluster does not see.
    """
    head = word.removesuffix(value)
    path = Path(value).expanduser().absolute()
    if _below(path, seen):
        return f"{head}{path}"
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
    return f"{head}{folder.name}/{path.name}"


def refuse_large(stage: Path) -> None:
    """Refuse to send more than Ray should keep in the memory of the head, naming the largest files.

    Raises:
        ClusterError: it is too large.
    """
    sizes = {file: file.stat().st_size for file in stage.rglob("*") if file.is_file()}
    total = sum(sizes.values())
    if total <= LARGEST_PACKAGE:
        return
    largest = sorted(sizes, key=lambda file: -sizes[file])[:3]
    named = ", ".join(f"{file.relative_to(stage)} ({sizes[file] / 2**20:.1f} MiB)" for file in largest)
    raise ClusterError(
        f"what goes with a job may have {LARGEST_PACKAGE // 2**20} MiB, and has {total / 2**20:.1f}, most "
        f"of it in {named}: move such files out of {ROOT}, or put them where the cluster sees them"
    )


def seen_folders(target: Target, shared: Sequence[str] = ()) -> list[Path]:
    """Return the folders that the cluster sees under the same paths as this machine."""
    return [Path("/")] if target.local else [Path(folder).expanduser().absolute() for folder in shared]


def _submitter() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
