"""`marey mlflow-server`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

from pipelines.places import Place
from tasks.checks import at_least


@dataclass(frozen=True, kw_only=True)
class Args:
    """Serve MLflow to several people and machines, with logins, until Ctrl-C; print what clients must set.

    Artifacts go through the server: clients need no access to where they are kept.
    """

    store: str | None = None
    """Database of the runs and accounts: a FILE.db, or postgresql://USER@HOST/DATABASE, whose password goes into
    PGPASSWORD; by default MLFLOW_BACKEND_STORE_URI, else a file in the workspace."""
    artifacts: Place | None = None
    """Folder or address, such as s3://bucket/path, of the artifacts; by default in the workspace."""
    host: str = "127.0.0.1"
    """Address to listen on: by default for this machine only; 0.0.0.0 for the whole network."""
    port: int = 5000
    """Port; 0 takes a free one."""
    allowed_hosts: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """A name by which clients reach the server; may be given several times. By default MLFLOW_SERVER_ALLOWED_HOSTS,
    else this machine's names and addresses."""
    workers: int = 2
    """Processes that answer."""
    no_login: FlagCreatePairsOff[bool] = False
    """Ask nobody for a login; on this machine only."""
    check: FlagCreatePairsOff[bool] = False
    """Serve nothing: say whether the database has the tables of this MLflow, and bring older ones up to date after a
    copy. Stop the server before."""

    def __post_init__(self) -> None:
        at_least(self, 1, "workers")


def main(args: Args) -> int:
    """Print what clients set as soon as the server answers, and serve."""
    import signal
    import sys

    from cluster.interrupt import hear
    from pipelines.mlflow_server import check, places, serve
    from pipelines.text import show

    if args.check:
        show(check(places(args.store, args.artifacts)))
        return 0

    hear()
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(0))  # nobody is there to be told
    try:
        with serve(
            args.store,
            args.artifacts,
            host=args.host,
            port=args.port,
            names=args.allowed_hosts,
            workers=args.workers,
            login=not args.no_login,
        ) as running:
            sys.stdout.write(f"{running.text}\n")  # at once: a signal may come as soon as it is read
            sys.stdout.flush()
            running.wait()
    except KeyboardInterrupt:
        print("the MLflow server has ended; the same command starts it again, with all runs")
    return 0
