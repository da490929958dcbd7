"""The file by which a run or a sweep of the same name is known again: what it was started with, and its result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import recipe as recipes
from pipelines.errors import UserError
from pipelines.tracking.tracker import flatten

FREE = ("train.log_every", "train.loader_threads", "train.keep_checkpoints")
"""Fields that may change from one start to the next, as `compute` may: they do not bear on the result."""


def read(path: Path, kind: str, recipe: Mapping[str, Any], digest: str, sections: tuple[str, ...]) -> dict[str, Any]:
    """Return the record of an earlier start, {} where there is none.

    Args:
        path: file of the record.
        kind: `run` or `sweep`.
        recipe: the resolved recipe of this start.
        digest: of the dataset.
        sections: of the recipe, which must be what they were.

    Raises:
        UserError: the earlier start had another recipe or dataset; names the fields.
    """
    if not path.exists():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    earlier = recipes.to_dict(recipes.parse(record["recipe"]))  # with the fields that have come since
    before, now = _bearing(earlier, sections), _bearing(recipe, sections)
    fields = [
        f"{key} ({before.get(key, 'not set')}, now {now.get(key, 'not set')})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if record["dataset_digest"] != digest:
        fields.append("the videos of the dataset")
    if fields:
        raise UserError(
            f"{kind} {recipe['name']} was started with another recipe: {', '.join(fields)}; give this one another "
            f"name, or delete {path.parent}"
        )
    return record


def run_id(path: Path) -> str:
    """Return the MLflow run of a record."""
    return str(json.loads(path.read_text())["run_id"])


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Replace the record in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(record, indent=1) + "\n")
    aside.rename(path)


def _bearing(recipe: Mapping[str, Any], sections: tuple[str, ...]) -> dict[str, str]:
    flat = flatten({section: recipe[section] for section in sections})
    division = {f"data.{key}": str(recipe["data"][key]) for key in ("split", "fold")}
    return {key: value for key, value in {**flat, **division}.items() if key not in FREE}
