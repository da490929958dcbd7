"""`marey train RECIPE`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipelines.places import RecipeName
from pipelines.shared_arguments import OnCluster, Overriding, WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(Overriding, OnCluster, WithJSON):
    """Train the network of a recipe and track it in MLflow.

    The same command resumes an interrupted training, and returns the result of a finished one.
    """

    recipe: Positional[RecipeName]
    """A recipe file, or the name of a built-in recipe."""
    workers: int | None = None
    """Workers that share each step; by default the recipe's compute.workers."""
    profile: int = 0
    """Keep a trace of so many steps with the run, for Perfetto or chrome://tracing."""


def main(args: Args) -> int:
    """Train and print where the result is."""
    from pipelines.errors import UserError
    from pipelines.recipe import load
    from pipelines.text import show, to_json
    from pipelines.tracking.workspace import address_of
    from pipelines.train import train

    if args.profile < 0:
        raise UserError(f"--profile {args.profile}: give the number of steps to record")
    workers = [] if args.workers is None else [f"compute.workers={args.workers}"]
    result = train(load(args.recipe, [*args.set, *workers]), address=args.address, profile=args.profile)
    if args.json:
        values = {"run_id": result.run_id, "run": result.run_name, "checkpoint": address_of(result.checkpoint)}
        show(to_json({**values, "chosen": result.chosen, "metrics": result.metrics}))
        return 0
    scores = [f"{key} {value:.4g}" for key, value in result.metrics.items() if key.startswith("val/")]
    show(f"run {result.run_name} ({result.run_id})")
    show(f"checkpoint: {result.chosen}{': ' if scores else ''}{', '.join(scores)}")
    show(f"next: marey evaluate {result.run_name}    marey ui")
    return 0
