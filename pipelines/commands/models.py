"""`marey models`."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.shared_arguments import WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(WithJSON):
    """List the networks: parameters, multiply-accumulates, published figures beside ours."""


def main(args: Args) -> int:
    """Print all networks."""
    from pipelines.models import entries, to_text
    from pipelines.text import to_json

    shown = entries()
    print(to_json(shown) if args.json else to_text(shown))
    return 0
