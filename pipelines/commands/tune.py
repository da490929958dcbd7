"""`marey tune RECIPE`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg


@dataclass(frozen=True, kw_only=True)
class Args:
    """Search the fields of the recipe's `search.space` and write the best recipe.

    The same command goes on with an interrupted sweep.
    """

    recipe: Positional[str]
    """A recipe file, or the name of a built-in recipe."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FIELD=VALUE")] = ()
    """Change a field of the recipe, such as `--set search.trials=50`; may be given several times."""
    address: str | None = None
    """A Ray cluster's head, host:port; by default RAY_ADDRESS, else this machine alone."""
    json: bool = False
    """Print the result as JSON."""


def main(args: Args) -> int:
    """Search and print the best trial."""
    import json

    from pipelines.recipe import load
    from pipelines.tune import tune

    result = tune(load(args.recipe, args.set), address=args.address)
    if args.json:
        print(
            json.dumps(
                {
                    "run_id": result.run_id,
                    "best_run": result.best_run,
                    "best_recipe": str(result.best),
                    "values": result.values,
                    "metric": result.metric,
                    "score": result.score,
                    "trials": result.trials,
                    "failed": result.failed,
                }
            )
        )
        return 0
    print(f"best of {result.trials} trials ({result.failed} failed): {result.metric} {result.score:.4g}")
    for field, value in result.values.items():
        print(f"  {field}: {value}")
    print(f"its recipe: {result.best}")
    print(f"next: marey evaluate {result.best_run}    marey ui")
    return 0
