"""Entry point of `marey` and of `python -m pipelines`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command line and exit with its code."""
    # `python -m` puts the current folder first, where other models/, tasks/ or cluster/ packages may lie.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from cluster.interrupt import end_by_interrupt
    from pipelines import cli

    end_by_interrupt()
    code = cli.main()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself, and takes with it what it has started
    sys.exit(code)


if __name__ == "__main__":
    main()
