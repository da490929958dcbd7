"""`marey verify DATASET`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Re-read a prepared dataset: checksums, counts, and flow = frames - 1 for every video.

    Exit 1: something differs; every difference is printed.
    """

    dataset: Positional[str]
    """Folder or URL of the prepared dataset."""
    address: str | None = None
    """A Ray cluster's head, host:port; by default RAY_ADDRESS, else this machine alone."""


def main(args: Args) -> int:
    """Print every difference, or what was compared."""
    from pipelines.verify import verify

    result = verify(args.dataset, address=args.address)
    for difference in result.differences:
        print(difference)
    print(result)
    return 1 if result.differences else 0
