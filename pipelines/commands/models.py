"""`marey models`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Args:
    """List the networks: parameters, multiply-accumulates, published figures beside ours."""

    json: bool = False
    """Print JSON instead of tables."""


def main(args: Args) -> int:
    """Print all networks."""
    from pipelines.models import entries, table

    shown = entries()
    print(json.dumps([asdict(entry) for entry in shown], indent=2) if args.json else table(shown), end="")
    return 0
