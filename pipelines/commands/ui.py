"""`marey ui`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Args:
    """Serve the MLflow UI of the workspace (or of MLFLOW_TRACKING_URI) on this machine, until Ctrl-C."""

    port: int = 5000
    """Port on 127.0.0.1; 0 takes a free one."""


def main(args: Args) -> int:
    """Print the address as soon as it answers, and serve."""
    import signal
    import sys

    from cluster.errors import ClusterError
    from cluster.mlflow import serve
    from pipelines.tracking import tracking_uri, workspace
    from pipelines.tracking.tracker import runs_page

    uri = tracking_uri(workspace())
    if uri.startswith(("http://", "https://")):
        print(f"the runs are on the server that MLFLOW_TRACKING_URI names: {uri}")
        return 0
    # Ended from outside, it must take the server with it as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with serve(uri, args.port, workspace()) as server:
            print(f"MLflow UI of {uri}: {server.url}{runs_page(uri)}  (Ctrl-C ends it)", flush=True)
            raise ClusterError(f"the MLflow server ended by itself, with code {server.process.wait()}")
    except KeyboardInterrupt:
        return 0
