"""`marey ui`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import FlagCreatePairsOff

LOGIN_FILE = "ui-login"
"""File of the workspace that keeps name and password."""


@dataclass(frozen=True, kw_only=True)
class Args:
    """Serve the MLflow UI of the workspace (or of MLFLOW_TRACKING_URI) on this machine, until Ctrl-C.

    It asks for a login where other people have an account on this machine.
    """

    port: int = 5000
    """Port on 127.0.0.1; 0 takes a free one."""
    login: FlagCreatePairsOff[bool] = False
    """Ask for a login in any case."""
    no_login: FlagCreatePairsOff[bool] = False
    """Ask nobody: all accounts of this machine can change the runs."""

    def __post_init__(self) -> None:
        if self.login and self.no_login:
            raise ValueError("--login and --no-login exclude each other: give one")


def main(args: Args) -> int:
    """Print the address as soon as it answers, and serve."""
    import signal
    import sys

    from cluster.errors import ClusterError
    from cluster.login import keep, other_accounts
    from cluster.mlflow import serve
    from pipelines.tracking import local_folder, make_folder, tracking_uri, workspace
    from pipelines.tracking.address import database_file, shown
    from pipelines.tracking.store import read_store
    from pipelines.tracking.tracker import runs_page

    uri, place = tracking_uri(workspace()), local_folder()
    if uri.startswith(("http://", "https://")):
        print(f"the runs are on the server that MLFLOW_TRACKING_URI names: {shown(uri)}")
        return 0
    # Ended with its terminal, it must take the server with it as Ctrl-C and SIGTERM do; nohup ignores SIGHUP.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(0))
    others, file = other_accounts(), place / LOGIN_FILE
    try:
        read_store(workspace())
        database = database_file(uri)
        if database is None:
            make_folder(place)
        asked = args.login or (others and not args.no_login)
        login = keep(file) if asked and (database is None or database.exists()) else None
        with serve(uri, args.port, place, login) as server:
            if login:
                told = f"password {login.password} (shown this once; {file} keeps it)" if login.new else f"as in {file}"
                print(f"login: user {login.name}, {told}")
            elif args.no_login:
                who = ", ".join(others) or "any account, such as that of a service"
                print(f"without a login, others on this machine can read, change and delete the runs: {who}")
            print(f"MLflow UI of {shown(uri)}: {server.url}{runs_page(uri)}  (Ctrl-C ends it)", flush=True)
            raise ClusterError(f"the MLflow server ended by itself, with code {server.process.wait()}")
    except KeyboardInterrupt:
        print("the MLflow UI has ended; the same command opens it again, with all runs")
        return 0
