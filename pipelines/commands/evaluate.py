"""`marey evaluate RUN... [DATASET]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Score a trained network by one view and by the views of its paper: top-1, top-5, mean class accuracy.

    Several runs are scored each and together, by the weighted sum of their scores.
    """

    runs: Positional[tuple[str, ...]]
    """Runs (ids, names, models:/NAME@ALIAS, checkpoint folders), then a dataset; by default the runs' own."""
    weights: tuple[float, ...] = ()
    """Weight of each run's scores; by default 1 for rgb and 1.5 for flow."""
    score_space: Literal["logits", "softmax"] | None = None
    """What is averaged over views; by default the recipe's, else the paper's."""
    part: Literal["val", "test"] | None = None
    """Part of the split; by default the recipe's, which is test unless it says otherwise."""
    split: str | None = None
    """Name of a split; by default the run's own."""
    fold: str | None = None
    """`group=NAME`: that group is the test part."""
    clips: int | None = None
    """Clips a video; by default the recipe's, else the paper's."""
    clip_starts: Literal["even", "random"] | None = None
    """Where several clips start: evenly spread, or drawn; by default the recipe's, else the paper's."""
    crops: Literal[1, 3, 10] | None = None
    """Crops a clip; by default the recipe's, else the paper's."""
    segments: int | None = None
    """Segments of a clip; by default the recipe's, else the paper's."""
    size: int | None = None
    """Height and width of a clip; by default the recipe's, else the paper's."""
    workers: int | None = None
    """Tasks at once; by default one a GPU, or one a CPU where there is no GPU."""
    address: str | None = None
    """A Ray cluster's head, host:port; by default RAY_ADDRESS, else this machine alone."""
    json: bool = False
    """Print the result as JSON."""


def main(args: Args) -> int:
    """Evaluate and print the table."""
    import json

    from pipelines.errors import UserError
    from pipelines.evaluate import evaluate, fusion
    from pipelines.evaluate.workflow import table, to_dict
    from tasks.data.tables import is_dataset

    *runs, last = args.runs or ("",)
    dataset = last if runs and is_dataset(last) else None
    if dataset is None:
        runs.append(last)
    if not any(runs):
        raise UserError("no run is named: give a run's name or id")
    fields = ("part", "clips", "clip_starts", "crops", "segments", "size", "score_space")
    given = {name: value for name in fields if (value := getattr(args, name)) is not None}
    results = [
        evaluate(
            run,
            dataset,
            overrides=given,
            split=args.split,
            fold=args.fold,
            workers=args.workers,
            address=args.address,
        )
        for run in runs
    ]
    for result in results:
        print(json.dumps(to_dict(result)) if args.json else table(result))
    if len(results) > 1:
        fused = fusion.fuse(results, args.weights)
        print(json.dumps(fusion.to_dict(fused)) if args.json else "\n" + fusion.table(fused))
    return 0
