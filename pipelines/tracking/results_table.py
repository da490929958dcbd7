"""The table of accuracies in the description of a run, to which each evaluation adds rows."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.text import columns

CELLS = {"top-1 %": "top1_percent", "top-5 %": "top5_percent", "mean class %": "mean_class_percent", "loss": "loss"}
"""Columns -> ends of the names of the metrics that they show."""
UNKNOWN = "-"
_TABLE = re.compile(r"```\nmeasured on .*?\n```", re.DOTALL)


def with_results(description: str, results: Mapping[str, Mapping[str, float]]) -> str:
    """Return a description with rows at the head of its table, instead of earlier ones of the same name.

    MLflow shows the first lines of a description until it is told to show more.

    Args:
        description: Markdown, with or without a table.
        results: by the row's name, such as `test, 10 views`: metrics by the ends of their names.
    """
    found = _TABLE.search(description)
    rows = {name: [name, *(_text(measured, end) for end in CELLS.values())] for name, measured in results.items()}
    before = map(_cells, found[0].splitlines()[2:-1]) if found else ()
    rows |= {row[0]: row for row in before if row[0] not in rows}
    lines = columns([["measured on", *CELLS], *rows.values()], right=range(1, len(CELLS) + 1))
    table = "\n".join(["```", *lines, "```"])
    return description.replace(found[0], table) if found else "\n\n".join(filter(None, [description, table]))


def _cells(line: str) -> list[str]:
    return re.split(r" {2,}", line)


def _text(measured: Mapping[str, float], end: str) -> str:
    value = measured.get(end)
    return UNKNOWN if value is None else f"{value:.3f}" if end == "loss" else f"{value:.1f}"
