"""`marey evaluate RUN [DATASET]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Score a trained network by one view and by the views of its paper: top-1, top-5, mean class accuracy."""

    run: Positional[str]
    """A run's id or name, models:/NAME@ALIAS, models:/NAME/VERSION or a checkpoint folder."""
    dataset: Positional[str | None] = None
    """A prepared dataset; by default the one the run was trained on."""
    part: Literal["val", "test"] | None = None
    """Part of the split; by default the recipe's, which is test unless it says otherwise."""
    split: str | None = None
    """Name of a split; by default the run's own."""
    fold: str | None = None
    """`group=NAME`: that group is the test part."""
    clips: int | None = None
    """Clips a video; by default the recipe's, else the paper's."""
    crops: Literal[1, 3, 10] | None = None
    """Crops a clip; by default the recipe's, else the paper's."""
    segments: int | None = None
    """Segments of a clip; by default the recipe's, else the paper's."""
    workers: int | None = None
    """Tasks at once; by default one a GPU, or one a CPU where there is no GPU."""
    address: str | None = None
    """A Ray cluster's head, host:port; by default RAY_ADDRESS, else this machine alone."""
    json: bool = False
    """Print the result as JSON."""


def main(args: Args) -> int:
    """Evaluate and print the table."""
    import json

    from pipelines.evaluate import evaluate, table, to_dict

    given = {"part": args.part, "clips": args.clips, "crops": args.crops, "segments": args.segments}
    result = evaluate(
        args.run,
        args.dataset,
        overrides={key: value for key, value in given.items() if value is not None},
        split=args.split,
        fold=args.fold,
        workers=args.workers,
        address=args.address,
    )
    print(json.dumps(to_dict(result)) if args.json else table(result))
    return 0
