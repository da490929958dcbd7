"""`marey bench loader DATASET` and `marey bench step RECIPE`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from pipelines.places import RecipeName
from pipelines.shared_arguments import Overriding, WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(Overriding, WithJSON):
    """Measure what limits trainings on this machine: the loader on a dataset, or the steps of a recipe.

    One worker, in this process; nothing is trained or tracked.
    """

    part: Positional[Literal["loader", "step"]]
    """Read clips of a dataset and do nothing else, or take a recipe's steps with clips in memory."""
    subject: Positional[RecipeName]
    """The prepared dataset (loader), or the recipe (step)."""
    recipe: RecipeName | None = None
    """Whose clips are read (loader); by default those of TSN."""
    clips: int = 256
    """Clips to read (loader)."""
    threads: int | None = None
    """Threads that read (loader); by default the recipe's train.loader_threads."""
    steps: int = 5
    """Steps to take (step), after as many to warm up."""


def main(args: Args) -> int:
    """Measure, and print the figures."""
    from pipelines.errors import UserError
    from pipelines.recipe import load
    from pipelines.text import show, to_json

    for name in ("clips", "threads", "steps"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}")
    if args.part == "loader":
        from pipelines.bench import loader

        if args.set and args.recipe is None:
            raise UserError("--set changes a recipe's field: name the recipe with --recipe")
        recipe = None if args.recipe is None else load(args.recipe, args.set)
        read = loader.bench_loader(args.subject, recipe=recipe, clips=args.clips, threads=args.threads)
        show(to_json(read) if args.json else loader.to_text(read))
        return 0
    from pipelines.bench import step

    taken = step.bench_step(load(args.subject, args.set), steps=args.steps)
    show(to_json(taken) if args.json else step.to_text(taken))
    return 0
