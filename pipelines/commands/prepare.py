"""`marey prepare SOURCE OUT`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from pipelines.places import Place
from pipelines.shared_arguments import OnCluster, WithJSON
from tasks.data import layouts
from tasks.data.settings import PrepareSettings, SourceSettings


@dataclass(frozen=True, kw_only=True)
class Args(OnCluster, WithJSON, SourceSettings):
    """Decode videos, compute optical flow between their frames and pack both into shards.

    The same command resumes an interrupted one. Exit 3: done, but too many videos failed.
    """

    source: Positional[Place]
    """Videos: a folder of class folders, a CSV of files and labels (`--layout csv`), or a published dataset."""
    out: Positional[Place]
    """Folder or URL of the dataset to write."""
    layout: Annotated[str, arg(help=f"How the source is arranged: {', '.join(layouts.names())}.")] = (
        SourceSettings.layout
    )
    retry_failed: bool = False
    """Redo the shards that hold a failed video."""
    dry_run: bool = False
    """Only estimate time and disk space, from a sample of the videos."""
    settings: Annotated[PrepareSettings, arg(name="")] = field(default_factory=PrepareSettings)


def main(args: Args) -> int:
    """Prepare, print the result, and return by the exit code whether too many videos failed."""
    from pipelines.prepare import prepare
    from pipelines.prepare.workflow import listing, to_text
    from pipelines.text import show, to_json

    if args.dry_run:
        from pipelines.prepare import estimate

        found = listing(args.layout, args.source, args.group, args.group_column)
        expected = estimate.estimate_preparation(found, args.out, args.settings, address=args.address)
        show(to_json(expected) if args.json else estimate.to_text(expected))
        return 0
    result = prepare(
        args.source,
        args.out,
        layout=args.layout,
        settings=args.settings,
        group=args.group,
        group_column=args.group_column,
        max_failed=args.max_failed,
        retry_failed=args.retry_failed,
        address=args.address,
    )
    show(to_json(result) if args.json else to_text(result))
    if not args.json:
        show(f"next: marey preview {args.out} page.html    marey train RECIPE --set data.dataset={args.out}")
    return 3 if result.too_many_failed else 0
