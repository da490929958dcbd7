"""Recipes of a few lines, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import recipe as recipes
from pipelines.errors import UserError

BASE = "name: strict\ndata: {dataset: d}\nmodel: {name: tsn}\n"


def document(field: str, value: str) -> str:
    """A recipe file with one value, as it is written there."""
    values = {"name": "strict", "data.dataset": "d", "model.name": "tsn", field: value}
    sections: dict[str, str] = {}
    for name, text in values.items():
        section, _, last = name.rpartition(".")
        sections[section] = sections.get(section, f"{section}:\n" if section else "")
        sections[section] += f"{'  ' if section else ''}{last}: {text}\n"
    return "".join(sections.values())


def refusal(given: Any, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        recipes.load(given, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)
