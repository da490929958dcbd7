"""`marey demo`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from tasks.stickfigures import FigureSettings


@dataclass(frozen=True, kw_only=True)
class Args:
    """Draw small videos, run the whole workflow on them, and print the results and where to look.

    The videos show actions in time-reversed pairs: a network that is blind to time (TSN) finds the pair but not the
    way round, one that sees motion (STM) finds both.
    """

    videos: FigureSettings = field(default_factory=FigureSettings.demo)
    overrides: Annotated[UseAppendAction[list[str]], arg(name="set")] = field(default_factory=list)
    """A field of both recipes, such as train.epochs=2; may be given several times."""
    address: str | None = None
    """A Ray cluster's head, host:port; by default RAY_ADDRESS, else this machine alone."""


def main(args: Args) -> int:
    """Run the demo and print its table."""
    from pipelines.demo import demo, table

    rows, folder = demo(args.videos, args.overrides, address=args.address)
    print(
        f"\n{table(rows)}\n\n"
        f"videos and shards   {folder}\n"
        "curves, pictures    marey ui\n"
        f"another video       marey predict demo-stm {folder}/videos/test/sit_down\n"
        "your own videos     README.md, 'Your own videos'"
    )
    return 0
