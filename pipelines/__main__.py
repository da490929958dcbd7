"""Entry point of `marey` and of `python -m pipelines`."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the command line and exit with its code."""
    # `python -m` puts the current folder first, where other models/, tasks/ or cluster/ packages may lie.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from pipelines import cli

    sys.exit(cli.main())


if __name__ == "__main__":
    main()
