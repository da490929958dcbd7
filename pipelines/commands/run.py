"""`marey run RECIPE`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg


@dataclass(frozen=True, kw_only=True)
class Args:
    """Prepare, train, evaluate and register what a recipe names.

    A step that was done before with the same inputs is not done again, so the same command goes on where an
    interrupted one stopped. Exit 3: done, but too many videos failed.
    """

    recipe: Positional[str]
    """A recipe file, or the name of a built-in recipe."""
    overrides: Annotated[UseAppendAction[list[str]], arg(name="set")] = field(default_factory=list)
    """A field of the recipe, such as train.lr=0.02; may be given several times."""
    address: str | None = None
    """A Ray cluster's head, host:port; by default RAY_ADDRESS, else this machine alone."""


def main(args: Args) -> int:
    """Run all steps and print the evaluation."""
    from pipelines.recipe import load
    from pipelines.run import run

    result = run(load(args.recipe, args.overrides), address=args.address)
    print(f"{result.summary}\nnetwork: {result.model} (run {result.trained.run_name}, {result.trained.run_id})")
    return 3 if result.too_many_failed else 0
