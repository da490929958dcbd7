"""What the words of a command line mean that is sent to a cluster: which are paths, and which recipes they name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.arguments import parse
from pipelines.errors import UserError
from pipelines.places import absolute_run, path_fields
from pipelines.recipe.settings import WEIGHT_FILES, Recipe

RECIPE_VERBS = ("train", "tune", "run")
"""Verbs that write runs, named by recipes."""


def paths_of(args: type, verb: str, words: Sequence[str]) -> dict[int, str]:
    """Return the numbers of the words that name something on this machine, and the part of each that does.

    That is for the types of the verb's arguments to say: a fold, a run or a name may be called as some file here is.

    Args:
        args: the `Args` of the verb.
        verb: its name.
        words: its arguments, which can be parsed.
    """
    found = {}
    for number, word in enumerate(words):
        parts = word.split("=")
        for value in ("=".join(parts[first:]) for first in range(len(parts))):
            if value and "://" not in value and os.path.exists(value) and _is_path(args, verb, words, number, value):
                found[number] = value
                break
    return found


def _is_path(args: type, verb: str, words: Sequence[str], number: int, value: str) -> bool:
    """Return whether the end of a word is taken for a path; another end in its place shows which argument gets it."""
    mark = f"/{secrets.token_hex(8)}"
    changed = [*words[:number], words[number].removesuffix(value) + mark, *words[number + 1 :]]
    try:
        parsed = parse(args, verb, changed)
    except UserError:
        return False
    for name, word in path_fields(args).items():
        given = getattr(parsed, name)
        if any(str(each) == mark for each in (given if isinstance(given, tuple) else (given,))):
            return os.path.isabs(word.absolute(value))
    assigned = getattr(parsed, "set", ())
    if any(f"{field}={mark}" in assigned for field in ("data.dataset", "data.source")):
        return True
    return f"model.weights={mark}" in assigned and (value.endswith(WEIGHT_FILES) or os.path.isabs(absolute_run(value)))


def recipes_of(verb: str, parsed: Any) -> list[Recipe]:
    """Return the recipes whose runs a command line writes, but for those in files that are not on this machine.

    Raises:
        UserError, ModelError: one is wrong, which is better known here than by a job.
    """
    from pipelines.recipe import load

    if verb not in RECIPE_VERBS:
        return []
    named = parsed.recipes if verb == "run" else (parsed.recipe,)
    here = [name for name in named if not Path(name).is_absolute() or Path(name).exists()]
    return [load(name, parsed.set) for name in here]


def refuse_unseen(recipes: Sequence[Recipe], seen: Sequence[Path]) -> None:
    """Refuse recipes with data or weights on this machine that the cluster does not see.

    An absolute path that does not exist here may well exist there.

    Args:
        recipes: the recipes.
        seen: folders that the cluster sees.
    """
    for recipe in recipes:
        for place in (recipe.data.dataset, recipe.data.source, recipe.model.weights):
            path = Path(place or "")
            if not path.is_absolute() or any(path.is_relative_to(folder) for folder in seen):
                continue
            if path.exists() or path.is_relative_to(Path.cwd()):
                raise UserError(
                    f"the cluster does not see {place}, which recipe {recipe.name} names: give a URL (s3://...), or a "
                    f"folder that both see (`--shared {path.parent}`)"
                )
