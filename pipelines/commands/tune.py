"""`marey tune RECIPE`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipelines.places import RecipeName
from pipelines.shared_arguments import OnCluster, Overriding, WithJSON
from tasks.words import counted


@dataclass(frozen=True, kw_only=True)
class Args(Overriding, OnCluster, WithJSON):
    """Search the fields of the recipe's `search.space`, or what suits any network, and write the best recipe.

    The same command resumes an interrupted sweep.
    """

    recipe: Positional[RecipeName]
    """A recipe file, or the name of a built-in recipe."""


def main(args: Args) -> int:
    """Search and print the best trial."""
    from pipelines.recipe import load
    from pipelines.text import columns, show, to_json
    from pipelines.tune import tune
    from pipelines.tune.outcome import table

    result = tune(load(args.recipe, args.set), address=args.address)
    if args.json:
        show(
            to_json(
                {
                    "run_id": result.run_id,
                    "best_run": result.best_run,
                    "best_recipe": result.best,
                    "values": result.values,
                    "metric": result.metric,
                    "score": result.score,
                    "trials": result.trials,
                    "failed": result.failed,
                    "log": result.log,
                    "ranking": result.ranking,
                }
            )
        )
        return 0
    rows = table(result.ranking, result.metric, result.fields)
    show("\n".join(columns(rows, right=range(1, len(rows[0]) - 1))))
    show(f"best of {counted(result.trials, 'trial')} ({result.failed} failed): {result.metric} {result.score:.4g}")
    for field, value in result.values.items():
        show(f"  {field}: {value}")
    show(f"its recipe: {result.best}")
    if result.failed:
        show(f"what Ray Tune says of failed trials: {result.log}")
    show(f"next: marey evaluate {result.best_run}    marey ui")
    return 0
