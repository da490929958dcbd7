"""`marey submit -- VERB ARGS`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from pipelines.places import Place
from pipelines.shared_arguments import OfJobs

HERE_ONLY = ("submit", "jobs", "logs", "stop", "cluster", "ui", "mlflow-server", "doctor")


@dataclass(frozen=True, kw_only=True)
class Args(OfJobs):
    """Run a verb as a job on a Ray cluster: `marey submit -- train recipe.yaml`.

    Shows the job's log until it ends; the exit code is the job's. Ctrl-C leaves the job running.
    """

    command: Positional[tuple[str, ...]]
    """After `--`: the verb and its arguments, as for `marey` itself."""
    wait: bool = True
    """Show the log until the job ends; --no-wait prints the job's id at once."""
    shared: Annotated[UseAppendAction[tuple[Place, ...]], arg(metavar="FOLDER")] = ()
    """A folder that the cluster's machines see under the same path; may be given several times."""


def main(args: Args) -> int:
    """Send the job, follow it, and return its exit code."""
    import os

    from cluster import jobs, submit, versions
    from pipelines import submitted
    from pipelines.follow import follow
    from pipelines.tracking import local_folder, workspace

    parsed = check(args.command)
    refuse_password()
    target = jobs.target(args.address, os.environ.get("RAY_ADDRESS"), local_folder())
    refuse_loopback(target.url)
    seen = submit.seen_folders(target, args.shared)
    refuse_unseen_store(seen)
    recipes = submitted.recipes_of(args.command[0], parsed)
    submitted.refuse_unseen(recipes, seen)
    if not submit.sees_folder(target, args.shared):
        refuse_lost(parsed)
    client = target.client()
    versions.refuse_unfit(versions.of_dashboard(target.url, target.token))
    job_id = submit.submit(
        client,
        target,
        args.command,
        submit.forwarded(workspace()),
        args.shared,
        paths=paths(args.command),
        run=", ".join(recipe.name for recipe in recipes),
    )
    if not args.wait:
        print(job_id)
        return 0
    print(f"job {job_id} on {target.url}", file=sys.stderr)
    return follow(client, job_id)


def check(command: tuple[str, ...]) -> object:
    """Return the verb's arguments, so that a typing error is reported here and not by a job minutes later."""
    from importlib import import_module

    from pipelines import arguments, cli
    from pipelines.errors import UserError, did_you_mean

    if not command:
        raise UserError("no verb to submit: write `marey submit -- VERB ARGS`")
    verb = command[0]
    possible = [each for each in cli.verbs() if each not in HERE_ONLY]
    if verb not in possible:
        raise UserError(f"cannot submit {verb!r}{did_you_mean(verb, possible)}")
    words = [command[number] for number in own_words(command)]
    return arguments.parse(import_module(cli.module_of(verb)).Args, verb, words)


def paths(command: tuple[str, ...]) -> dict[int, str]:
    """Return the numbers of the words that name something on this machine, that of the verb being 0, and the paths."""
    from importlib import import_module

    from pipelines import cli, submitted

    verb, places = command[0], own_words(command)
    found = submitted.paths_of(import_module(cli.module_of(verb)).Args, verb, [command[number] for number in places])
    return {places[number]: path for number, path in found.items()}


def own_words(command: tuple[str, ...]) -> list[int]:
    """Return the numbers of the words that the verb itself reads."""
    return [number for number, word in enumerate(command) if number and word != "--debug"]


def refuse_loopback(dashboard: str) -> None:
    """Refuse an MLflow on loopback for a cluster elsewhere, whose machines would ask themselves for it."""
    import os
    from urllib.parse import urlsplit

    from cluster.running import is_loopback
    from pipelines.errors import UserError

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if (
        uri.startswith("http")
        and is_loopback(urlsplit(uri).hostname or "")
        and not is_loopback(urlsplit(dashboard).hostname or "")
    ):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {uri}, at which the machines of {dashboard} find themselves: serve it to them "
            "(`marey mlflow-server --host 0.0.0.0`), and set it to this machine's address"
        )


def refuse_unseen_store(seen: Sequence[Path]) -> None:
    """Refuse an MLflow in a file that the cluster does not see, whose machines would make one of their own."""
    import os

    from pipelines.errors import UserError
    from pipelines.tracking import tracking_uri, workspace
    from pipelines.tracking.address import VARIABLE, database_file

    file = database_file(tracking_uri(workspace())) if os.environ.get(VARIABLE) else None
    if file is not None and not any(file.is_relative_to(folder) for folder in seen):
        raise UserError(
            f"the cluster does not see {file}, the database in {VARIABLE}: serve it (`marey mlflow-server --host "
            f"0.0.0.0`), and set {VARIABLE} to the address of the server"
        )


def refuse_password() -> None:
    """Refuse an address of MLflow with a password: the job's record shows its variables to everyone on the cluster."""
    import os

    from pipelines.errors import UserError
    from tasks.remote import without_credentials

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if without_credentials(uri) != uri:
        raise UserError(
            f"MLFLOW_TRACKING_URI ({without_credentials(uri)}) has a password, which the record of the job would show: "
            "set it on the machines of the cluster, and submit without it"
        )


def refuse_lost(parsed: object) -> None:
    """Refuse results that would be written where the job leaves nothing behind."""
    import os

    from pipelines.errors import UserError

    out = getattr(parsed, "out", None)
    if isinstance(out, str) and "://" not in out and not Path(out).is_absolute():
        raise UserError(
            f"{out} is relative to this folder, which the cluster does not see: give a URL or an absolute path there"
        )
    if "MAREY_WORK" not in os.environ:
        print("MAREY_WORK is not set: runs and checkpoints of this job go when the job goes", file=sys.stderr)
