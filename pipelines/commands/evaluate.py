"""`marey evaluate RUN... [DATASET]`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tyro.conf import Positional

from pipelines.places import RunName
from pipelines.recipe.settings import ProtocolSettings
from pipelines.shared_arguments import OnCluster, WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(ProtocolSettings, OnCluster, WithJSON):
    """Score a trained network by one view and by many: top-1, top-5, mean class accuracy.

    What is not given is as in the run's recipe, and what that leaves out is the published protocol of the network.
    Several runs are scored one by one and together, by the weighted sum of their scores.
    """

    runs: Positional[tuple[RunName, ...]]
    """Runs (ids, names, models:/NAME@ALIAS, checkpoint folders), then a dataset; by default the runs' own."""
    weights: tuple[float, ...] = ()
    """Weight of each run's scores; by default 1 for rgb and 1.5 for flow."""
    split: str | None = None
    """Name of a split; by default the run's own."""
    fold: str | None = None
    """`group=NAME`: that group is the test part."""
    workers: int | None = None
    """Tasks at once; by default one per GPU, or one per CPU where there is no GPU."""


def main(args: Args) -> int:
    """Evaluate and print the result."""

    from pipelines.errors import UserError
    from pipelines.evaluate import evaluate_together, fusion, result
    from pipelines.text import show, to_json

    runs, dataset = split_dataset(args.runs)
    if not any(runs):
        raise UserError("no run is named: give a run's name or id")
    names = [field.name for field in fields(ProtocolSettings)]
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    results, fused = evaluate_together(
        runs,
        dataset,
        args.weights,
        overrides=given,
        split=args.split,
        fold=args.fold,
        workers=args.workers,
        address=args.address,
    )
    for one in results:
        show(to_json(result.to_dict(one)) if args.json else result.to_text(one))
    if fused is not None:
        show(to_json(fusion.to_dict(fused)) if args.json else "\n" + fusion.to_text(fused))
    if not args.json:
        show(f"next: marey predict {results[0].run_name} VIDEO    marey ui")
    return 0


def split_dataset(words: tuple[str, ...]) -> tuple[list[str], str | None]:
    """Return the runs, and the dataset where the last word is one.

    Raises:
        UserError: the last of several words is a path, at which there is neither a dataset nor a checkpoint.
    """
    from pipelines.errors import UserError
    from pipelines.places import is_checkpoint
    from tasks.data.tables import is_dataset

    *runs, last = words or ("",)
    if runs and is_dataset(last):
        return runs, last
    if runs and "/" in last and not last.startswith("models:/") and not is_checkpoint(last):
        raise UserError(f"there is neither a prepared dataset nor a checkpoint at {last}")
    return [*runs, last], None
