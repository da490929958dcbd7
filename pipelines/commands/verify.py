"""`marey verify DATASET`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipelines.places import Place
from pipelines.shared_arguments import OnCluster, WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(OnCluster, WithJSON):
    """Re-read a prepared dataset: checksums, counts, and flow = frames - 1 for every video.

    Exit 1: something differs; every difference is printed.
    """

    dataset: Positional[Place]
    """Folder or URL of the prepared dataset."""


def main(args: Args) -> int:
    """Print every difference, or what was compared."""
    from pipelines.text import show, to_json
    from pipelines.verify import to_text, verify

    result = verify(args.dataset, address=args.address)
    show(to_json(result) if args.json else to_text(result))
    return 1 if result.differences else 0
