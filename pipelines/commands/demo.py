"""`marey demo`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.shared_arguments import OnCluster, Overriding, WithJSON
from tasks.stickfigures import FigureSettings


@dataclass(frozen=True, kw_only=True)
class Args(Overriding, OnCluster, WithJSON):
    """Draw small videos, run the whole workflow on them, and print the results and where to look.

    The videos show actions in time-reversed pairs: a network that is blind to time (TSN) finds the pair but not its
    direction, one that sees motion (STM) finds both.
    """

    videos: FigureSettings = field(default_factory=FigureSettings.demo)


def main(args: Args) -> int:
    """Run the demo and print its table."""
    from pipelines.demo import demo, to_text
    from pipelines.text import show, to_json

    result = demo(args.videos, args.set, address=args.address)
    if args.json:
        show(to_json(result))
        return 0
    show(
        f"\n{to_text(result)}\n\n"
        f"videos and shards   {result.folder}\n"
        "curves, pictures    marey ui\n"
        f"another video       marey predict demo-stm {result.folder}/videos/test/sit_down\n"
        "your own videos     README.md, 'Your own videos'"
    )
    return 0
