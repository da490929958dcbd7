"""`marey run RECIPE...`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from pipelines.places import RecipeName, RunName
from pipelines.shared_arguments import OnCluster, Overriding, WithJSON

if TYPE_CHECKING:
    from pipelines.run import AverageResult


@dataclass(frozen=True, kw_only=True)
class Args(Overriding, OnCluster, WithJSON):
    """Prepare, train, evaluate and register what a recipe names.

    Several recipes (the streams of a two-stream network) are also scored together, and splits are averaged. A step
    that was done before with the same inputs is not repeated, so the same command resumes an interrupted one. Exit 3:
    done, but too many videos failed.
    """

    recipes: Positional[tuple[RecipeName, ...]]
    """Recipe files, or names of built-in recipes."""
    from_run: RunName | None = None
    """Instead of recipes, a run to repeat: its id, its name or models:/NAME@ALIAS. The new run has the name of that one
    and `-again`, or what `--set name=...` says."""
    splits: tuple[str, ...] = ()
    """Splits of the dataset to run on, each in turn, or `all`; prints their mean."""
    folds: tuple[str, ...] = ()
    """Instead of splits, `group=NAME` to leave out, each in turn, or `all` groups."""
    weights: tuple[float, ...] = ()
    """Weight of each recipe's scores; by default 1 for rgb and 1.5 for flow."""


def main(args: Args) -> int:
    """Run all steps and print the evaluations."""
    from pipelines.errors import UserError
    from pipelines.evaluate import fusion
    from pipelines.evaluate import result as evaluation
    from pipelines.recipe import load
    from pipelines.run import average, every_split
    from pipelines.text import show, to_json

    if args.from_run is not None:
        from pipelines.run.repeat import recipe_of

        if args.recipes:
            raise UserError("--from-run repeats a run by its own recipe: give either recipes or a run")
        recipes = [recipe_of(args.from_run, args.set)]
    elif args.recipes:
        recipes = [load(recipe, args.set) for recipe in args.recipes]
    else:
        raise UserError("no recipe is named: give a recipe file, or the name of a built-in recipe")
    result = average(
        recipes,
        splits=args.splits,
        folds=args.folds,
        score_weights=args.weights,
        address=args.address,
    )
    if args.json:
        show(to_json(to_dict(result)))
        return 3 if result.too_many_failed else 0
    for one in (one for runs in result.runs for one in runs):
        show(f"{evaluation.to_text(one.evaluation)}\nnetwork: {one.model} (run {one.trained.run_name})\n")
    for fused in result.fused:
        show(fusion.to_text(fused) + "\n")
    if len(result.divisions) > 1:
        show(every_split.to_text(result))
    show(f"next: marey predict {result.runs[0][0].trained.run_name} VIDEO    marey ui")
    return 3 if result.too_many_failed else 0


def to_dict(result: AverageResult) -> dict[str, Any]:
    """Return the result as JSON takes it, without confusion matrices."""
    from pipelines.evaluate import fusion
    from pipelines.evaluate import result as evaluation
    from pipelines.run import every_split
    from pipelines.tracking.workspace import address_of

    runs = [
        {
            "division": division,
            "prepared": one.prepared,
            "trained": one.trained,
            "evaluation": evaluation.to_dict(one.evaluation),
            "model": one.model,
        }
        for division, row in zip(result.divisions, result.runs, strict=True)
        for one in row
    ]
    fused = [fusion.to_dict(each) for each in result.fused]
    folder = address_of(result.folder) if result.folder else None
    return {**every_split.to_dict(result), "runs": runs, "fused": fused, "folder": folder}
