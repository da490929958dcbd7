"""`marey run RECIPE...`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg


@dataclass(frozen=True, kw_only=True)
class Args:
    """Prepare, train, evaluate and register what a recipe names.

    Several recipes (the streams of a two-stream network) are also scored together, and splits are averaged. A step
    that was done before with the same inputs is not done again, so the same command goes on where an interrupted one
    stopped. Exit 3: done, but too many videos failed.
    """

    recipes: Positional[tuple[str, ...]]
    """Recipe files, or names of built-in recipes."""
    splits: tuple[str, ...] = ()
    """Splits of the dataset to run on, each in turn, or `all`; prints their mean."""
    folds: tuple[str, ...] = ()
    """Instead of splits, `group=NAME` to leave out, each in turn, or `all` groups."""
    weights: tuple[float, ...] = ()
    """Weight of each recipe's scores; by default 1 for rgb and 1.5 for flow."""
    overrides: Annotated[UseAppendAction[list[str]], arg(name="set")] = field(default_factory=list)
    """A field of every recipe, such as train.lr=0.02; may be given several times."""
    address: str | None = None
    """A Ray cluster's head, host:port; by default RAY_ADDRESS, else this machine alone."""


def main(args: Args) -> int:
    """Run all steps and print the evaluations."""
    from pipelines.errors import UserError
    from pipelines.evaluate import fusion
    from pipelines.evaluate import result as evaluation
    from pipelines.recipe import load
    from pipelines.run import every_split as average

    if not args.recipes:
        raise UserError("no recipe is named: give a recipe file, or the name of a built-in recipe")
    result = average.average(
        [load(recipe, args.overrides) for recipe in args.recipes],
        splits=args.splits,
        folds=args.folds,
        score_weights=args.weights,
        address=args.address,
    )
    for one in (one for runs in result.runs for one in runs):
        print(f"{evaluation.table(one.evaluation)}\nnetwork: {one.model} (run {one.trained.run_name})\n")
    for fused in result.fused:
        print(fusion.table(fused) + "\n")
    if len(result.divisions) > 1:
        print(average.to_text(result))
    return 3 if result.too_many_failed else 0
