"""A run again, from what MLflow knows of it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.recipe import Recipe
from pipelines.recipe.dataset import open_data
from pipelines.tracking.find_run import download_recipe, find_run
from pipelines.tracking.registry import DIGEST
from pipelines.tracking.revision import git_tags
from tasks.data.tables import is_dataset

AGAIN = "-again"
"""End of the name of a run that repeats another, unless it is given one."""

log = logging.getLogger(__name__)


def recipe_of(run: str, overrides: Iterable[str] = ()) -> Recipe:
    """Return the recipe that repeats a run, under a name of its own.

    Args:
        run: a run's id or name, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        overrides: fields to change, as `field=value`.

    Raises:
        UserError: there is no such run, it has no recipe, or its dataset holds other videos now.
        ClusterError: MLflow's store fails.
    """
    found, given = find_run(run), list(overrides)
    name = found.info.run_name
    with tempfile.TemporaryDirectory() as scratch:
        recipe = recipes.load(download_recipe(found, scratch))
    recipe = recipes.load(recipes.replaced(recipe, {"name": f"{recipe.name}{AGAIN}"}), given)
    digest, commit = found.data.tags.get(DIGEST), found.data.tags.get("git.commit")
    if not any(text.startswith("data.") for text in given) and is_dataset(recipe.data.dataset):
        now = open_data(recipe)
        if digest is not None and now.digest != digest:
            raise UserError(
                f"{recipe.data.dataset} holds other videos than when run {name} was trained on it: put them back, or "
                "say `--set data.dataset=...`"
            )
    if commit is not None and commit != git_tags().get("git.commit", commit):
        log.warning("run %s was made by another version of marey, commit %s", name, commit)
    return recipe
